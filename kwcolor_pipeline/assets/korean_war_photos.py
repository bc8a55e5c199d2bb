"""Asset: the black-and-white photographs of one year that are to be colorized."""

import dagster as dg

from kwcolor_pipeline.assets.crawl_result import describe_crawl
from kwcolor_pipeline.crawling.crawl import CODE_VERSION, crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.orchestration.checks import stored_some_spec
from kwcolor_pipeline.orchestration.partitions import KOREAN_WAR_YEARS
from kwcolor_pipeline.settings import Settings

NAME = "korean_war_photos"


@dg.asset(
    name=NAME,
    partitions_def=KOREAN_WAR_YEARS,
    group_name="korean_war",
    kinds={"python", "parquet"},
    owners=["team:kwcolor"],
    code_version=str(CODE_VERSION),
    check_specs=[stored_some_spec(NAME)],
)
def korean_war_photos(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """The target domain: black-and-white photographs of the Korean War, one partition a year.

    The same manifest and store as `crawled_photos`; photographs in colour are rejected here.
    """
    sources = open_sources(settings.korean_war_sources, settings, target=True)
    report = crawl_partition(settings, sources, NAME, context.partition_key, wanted_tone="bw")
    return describe_crawl(context, report, settings)
