"""Asset: the photographs that may be learned from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.freshness import MONTHLY
from kwcolor_pipeline.orchestration.metadata import bars, count_table, thumbnail_sheet
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import MEASURING
from kwcolor_pipeline.photos.curation import CODE_VERSION, curate, read_curated, unusual_partitions
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings


@dg.asset(
    deps=["deduplicated_photos"],
    group_name="photographs",
    kinds={"python", "parquet"},
    owners=["team:kwcolor"],
    freshness_policy=MONTHLY,
    op_tags=MEASURING,
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT,
)
@shares_home("curated_photos")
def curated_photos(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """Truly in colour, large enough, photographs and not drawings or pages, not colorized by somebody, of the time.

    Every rejection keeps its reason, its number and its bound. A person's decision in `review/decisions.csv` wins over
    the rules; `kwcolor review` shows what a person should look at.
    """
    curated = curate(settings)
    if curated.reused:
        context.log.info("The photographs and rules are the same as last time; the choice stands.")
    rows = read_curated(settings.paths)
    kept = [row["photo_id"] for row in rows if row["kept"]]
    rejected = [row["photo_id"] for row in rows if not row["kept"]]
    to_review = [row["photo_id"] for row in rows if row["review"]]
    unusual = unusual_partitions(rows)
    for sentence in unusual:
        context.log.warning(sentence)
    store = PhotoStore(settings.paths.photos)
    return dg.MaterializeResult(
        metadata={
            "kept": len(kept),
            "rejected": len(rejected),
            **({"rejected_share": round(len(rejected) / len(rows), 3)} if rows else {}),
            "to_review": len(to_review),
            "by_year": bars(_by_year(rows), "photographs of each year"),
            "reasons": count_table(curated.result.summary["rejected"], "reason"),
            "review": count_table(Counter(row["review"] for row in rows if row["review"]), "why a person should look"),
            **({"unusual": dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in unusual))} if unusual else {}),
            "reused": curated.reused,
            "table": dg.MetadataValue.path(str(curated.table)),
            **thumbnail_sheet(store, kept),
            **_sheet("rejected_thumbnails", store, rejected),
            **_sheet("review_thumbnails", store, to_review),
        },
        data_version=dg.DataVersion(curated.result.data_version),
    )


def _by_year(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many photographs were kept and rejected in each year that has some, oldest first."""
    kept = Counter((row["partition"], row["kept"]) for row in rows)
    years = sorted({row["partition"] for row in rows})
    return {year: {"kept": kept[year, True], "rejected": kept[year, False]} for year in years}


def _sheet(name: str, store: PhotoStore, photo_ids: Sequence[str]) -> dict[str, dg.MetadataValue]:
    """A sheet of the photographs under ``name``; nothing where there are none."""
    sheet = thumbnail_sheet(store, photo_ids)
    return {name: sheet["thumbnails"]} if sheet else {}
