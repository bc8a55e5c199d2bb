"""Asset: near-duplicates over all years, one representative for each cluster."""

import dagster as dg

from kwcolor_pipeline.orchestration.automation import ON_ANY_YEAR
from kwcolor_pipeline.orchestration.freshness import MONTHLY
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import MEASURING
from kwcolor_pipeline.photos.near_duplicates import CODE_VERSION, deduplicate
from kwcolor_pipeline.settings import Settings


@dg.asset(
    deps=["crawled_photos"],
    group_name="photographs",
    kinds={"python", "parquet"},
    owners=["team:kwcolor"],
    freshness_policy=MONTHLY,
    op_tags=MEASURING,
    code_version=str(CODE_VERSION),
    automation_condition=ON_ANY_YEAR,
)
@shares_home("deduplicated_photos")
def deduplicated_photos(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Clusters of near-duplicates over all years that exist.

    Perceptual hashes of the trimmed picture and its mirror find copies in other sizes, qualities and
    tones; a second look, which lays photographs over each other, those that are cropped, framed, captioned
    or turned. The best copy represents its cluster and inherits titles, dates and credits from the others.
    Only photographs that were never seen are hashed and looked at. The page shows the clusters.
    """
    found = deduplicate(settings)
    if found.reused:
        context.log.info("The photographs are the same as last time; the clusters stand.")
    from kwcolor_pipeline.evaluation.cluster_sheet import write_cluster_sheet

    return dg.MaterializeResult(
        metadata={
            **{name: value for name, value in found.result.summary.items() if isinstance(value, int)},
            "reused": found.reused,
            "table": dg.MetadataValue.path(str(found.table)),
            "page": dg.MetadataValue.path(str(write_cluster_sheet(settings.paths))),
        },
        data_version=dg.DataVersion(found.result.data_version),
    )
