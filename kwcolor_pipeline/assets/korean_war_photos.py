"""Asset: the black-and-white photographs of one year that are to be colorized."""

import dagster as dg

from kwcolor_pipeline.assets.crawl_result import crawl_year
from kwcolor_pipeline.crawling.crawl import CODE_VERSION
from kwcolor_pipeline.orchestration.checks import stored_some_spec
from kwcolor_pipeline.orchestration.freshness import IN_TURN
from kwcolor_pipeline.orchestration.metadata import columns
from kwcolor_pipeline.orchestration.partitions import KOREAN_WAR_YEARS
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import CRAWLING
from kwcolor_pipeline.photos.manifest import SCHEMA
from kwcolor_pipeline.settings import Settings

NAME = "korean_war_photos"


@dg.asset(
    name=NAME,
    partitions_def=KOREAN_WAR_YEARS,
    group_name="korean_war",
    kinds={"python", "parquet"},
    owners=["team:kwcolor"],
    metadata=columns(SCHEMA),
    freshness_policy=IN_TURN,
    op_tags=CRAWLING,
    code_version=str(CODE_VERSION),
    check_specs=[stored_some_spec(NAME, KOREAN_WAR_YEARS)],
)
@shares_home(NAME)
def korean_war_photos(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """The target domain: black-and-white photographs of the Korean War, one partition a year.

    The same manifest and store as `crawled_photos`; photographs in colour are rejected here.
    """
    return crawl_year(context, settings, settings.korean_war_sources, target=True, wanted_tone="bw")
