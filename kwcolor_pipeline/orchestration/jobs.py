"""Jobs: one year, everything after the crawl, all.

https://docs.dagster.io/guides/build/jobs
"""

import dagster as dg

#: Tag of runs that belong together, such as those of one `kwcolor run`: they share what they have listed.
EDITION_TAG = "kwcolor/edition"

ONE_YEAR = dg.define_asset_job(
    "one_year",
    selection=dg.AssetSelection.assets("crawled_photos"),
    description="Crawl one year from every source; pick the year as the partition.",
)
ONE_KOREAN_WAR_YEAR = dg.define_asset_job(
    "one_korean_war_year",
    selection=dg.AssetSelection.assets("korean_war_photos"),
    description="Crawl one year of the photographs that are to be colorized.",
)
AFTER_THE_CRAWL = dg.define_asset_job(
    "after_the_crawl",
    selection=dg.AssetSelection.all() - dg.AssetSelection.assets("crawled_photos", "korean_war_photos"),
    description="From deduplication to report and gallery, over all years that exist.",
)
EVERYTHING = dg.define_asset_job(
    "everything",
    # The target's years are other partitions, and a job has partitions of one kind.
    selection=dg.AssetSelection.all() - dg.AssetSelection.assets("korean_war_photos"),
    description=(
        "Crawl one year, then compute everything that follows; pick the year as the partition. The years of the "
        "Korean War are crawled with one_korean_war_year before."
    ),
)
JOBS = [ONE_YEAR, ONE_KOREAN_WAR_YEAR, AFTER_THE_CRAWL, EVERYTHING]
