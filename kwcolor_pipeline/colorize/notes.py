"""What a person should know about a photograph that is colorized: sentences, not failures.

Belongs here: what only those tell who face a person. A served version has neither this nor the rules it asks.
"""

from PIL import Image

from kwcolor_pipeline.colorize.reading import Photograph, shown
from kwcolor_pipeline.photos.curation import looks_coloured

#: Shortest side below which nothing is said of colours.
_TOO_SMALL = 8


def notes_on(photograph: Photograph) -> list[str]:
    """Sentences about a photograph that is in colour already, or of which only the first picture is taken."""
    notes = []
    name = shown(photograph.path)
    colours = photograph.colours
    if colours is not None and min(colours.shape[:2]) >= _TOO_SMALL and looks_coloured(Image.fromarray(colours)):
        notes.append(f"{name} is in colour already; it was colorized anew, from its own lightness.")
    if photograph.left_out > 0:
        notes.append(f"{name} holds {photograph.left_out + 1} pictures; the first was colorized.")
    return notes
