"""How the starter was made: photographs packed for a journey, trained on a rented GPU, and brought back as a bundle.

    python -m starter_training pack --photos FOLDER --work WORK     here: crawl, deduplicate, curate, pack
    python -m starter_training train --work WORK                    on the GPU: needs WORK/packed alone
    python -m starter_training export --work WORK                   here: measure, write kwcolor_pipeline/starter

Every stage goes on where it was stopped. Belongs here: what is particular to the starter, i.e. its photographs, its
splits and its recipe; crawling, curating and training are the package's own.
"""
