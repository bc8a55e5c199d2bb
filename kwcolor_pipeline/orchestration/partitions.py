"""The year partitions. Which photograph belongs to which year is in ``photos.manifest``.

https://docs.dagster.io/guides/build/partitions-and-backfills
"""

import dagster as dg

from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions

#: Newest first, as Dagster's UI and backfills then show and start them.
CRAWLED_YEARS = dg.StaticPartitionsDefinition(crawl_partitions())
KOREAN_WAR_YEARS = dg.StaticPartitionsDefinition(korean_war_partitions())
