"""Asset: pairs of a grey and a colour picture, in shards, split into train, valid and test."""

import tarfile
from itertools import islice

import dagster as dg
from PIL import Image

from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.freshness import MONTHLY
from kwcolor_pipeline.orchestration.metadata import CHANGED_SHARE, count_table, picture
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import MEASURING
from kwcolor_pipeline.photos.pairs import CODE_VERSION, make_pairs, read_pairs
from kwcolor_pipeline.photos.sheets import contact_sheet
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.trained_pairs import changed_share


@dg.asset(
    deps=["curated_photos"],
    group_name="photographs",
    kinds={"python"},
    owners=["team:kwcolor"],
    freshness_policy=MONTHLY,
    op_tags=MEASURING,
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT,
)
@shares_home("grayscale_pairs")
def grayscale_pairs(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """What the networks see: grey picture in, colour picture out, in tar shards that any tool opens.

    Splits are drawn by cluster, and a photograph that was once in the test split never trains.
    `changed_since_training` is the share of the training pairs that differs from what the model learned from.
    """
    pairs = make_pairs(settings)
    if pairs.reused:
        context.log.info("The curated photographs are the same as last time; the shards stand.")
    summary = pairs.result.summary
    return dg.MaterializeResult(
        metadata={
            "pairs": sum(summary["splits"].values()),
            "splits": count_table(summary["splits"], "split", "pairs"),
            "known_to_the_starter": summary["known_to_the_starter"],
            "shards": summary["shards"],
            "shards_written": 0 if pairs.reused else summary["shards_written"],
            "reused": pairs.reused,
            CHANGED_SHARE: changed_share(settings.paths),
            "index": dg.MetadataValue.path(str(pairs.index)),
            **_preview(settings),
        },
        data_version=dg.DataVersion(pairs.result.data_version),
    )


def _preview(settings: Settings) -> dict[str, dg.MetadataValue]:
    """Some training pairs, grey beside colour; nothing where a shard is damaged, which the check then tells."""
    try:
        pairs = list(islice(read_pairs(settings.paths, "train"), 9))
    except (OSError, tarfile.TarError, ValueError, KeyError):
        return {}
    cells = [Image.fromarray(pixels) for pair in pairs for pixels in (pair.gray, pair.color)]
    return {"preview": picture(contact_sheet(cells, columns=6, cell=96), "pairs of grey and colour")}
