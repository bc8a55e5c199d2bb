"""Asset: the colour photographs of one year, from every source that has them."""

import dagster as dg

from kwcolor_pipeline.assets.crawl_result import crawl_year
from kwcolor_pipeline.crawling.crawl import CODE_VERSION
from kwcolor_pipeline.orchestration.checks import stored_some_spec
from kwcolor_pipeline.orchestration.freshness import IN_TURN
from kwcolor_pipeline.orchestration.metadata import columns
from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import CRAWLING
from kwcolor_pipeline.photos.manifest import SCHEMA
from kwcolor_pipeline.settings import Settings

NAME = "crawled_photos"


@dg.asset(
    name=NAME,
    partitions_def=CRAWLED_YEARS,
    group_name="photographs",
    kinds={"python", "parquet"},
    owners=["team:kwcolor"],
    metadata=columns(SCHEMA),
    freshness_policy=IN_TURN,
    op_tags=CRAWLING,
    code_version=str(CODE_VERSION),
    check_specs=[stored_some_spec(NAME, CRAWLED_YEARS)],
)
@shares_home(NAME)
def crawled_photos(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """One year's manifest: a row for every photograph that the sources list, stored or rejected with the reason.

    The pictures lie in the photo store under the sha256 of their bytes. A year means what its source
    says: archives answer for the year a photograph was taken, web pages for the year of publication.
    Crawling a year again fetches only what is new.
    """
    return crawl_year(context, settings, settings.sources, target=False, wanted_tone="any")
