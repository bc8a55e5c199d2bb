"""Asset: the photographs that may be learned from."""

import dagster as dg

from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.metadata import count_table, thumbnail_sheet
from kwcolor_pipeline.photos.curation import CODE_VERSION, curate, read_curated
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings


@dg.asset(
    deps=["deduplicated_photos"],
    group_name="photographs",
    kinds={"python", "parquet"},
    owners=["team:kwcolor"],
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT,
)
def curated_photos(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """Truly in colour, large enough, photographs and not drawings or pages, not colorized by somebody.

    Every rejection keeps its reason; a person's decision in `review/decisions.csv` wins over the rules.
    """
    curated = curate(settings)
    if curated.reused:
        context.log.info("The photographs and rules are the same as last time; the choice stands.")
    rows = read_curated(settings.paths)
    kept = [row["photo_id"] for row in rows if row["kept"]]
    rejected = [row["photo_id"] for row in rows if not row["kept"]]
    store = PhotoStore(settings.paths.photos)
    sheet = thumbnail_sheet(store, rejected)
    return dg.MaterializeResult(
        metadata={
            "kept": len(kept),
            "rejected": len(rejected),
            "reasons": count_table(curated.result.summary["rejected"], "reason"),
            "reused": curated.reused,
            "table": dg.MetadataValue.path(str(curated.table)),
            **thumbnail_sheet(store, kept),
            **({"rejected_thumbnails": sheet["thumbnails"]} if sheet else {}),
        },
        data_version=dg.DataVersion(curated.result.data_version),
    )
