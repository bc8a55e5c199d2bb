"""Which pairs the pretrained generator learned from, and how much the pairs differ from them today.

Belongs here: the list beside the model, and the share. Which share is enough to train again is a setting
(`automation.min_change`); who waits for it is in ``orchestration.automation``. Dagster loads this module: no torch.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kwcolor_pipeline.home import Home, atomic_path
from kwcolor_pipeline.photos.pairs import index_path

#: Beside the latest pretrained generator.
TRAINED_PAIRS = "trained_pairs.parquet"


def pairs_that_train(home: Home) -> pa.Array:
    """One word for each pair of the split `train`; it changes when the pair's pictures do.

    Raises FileNotFoundError where `grayscale_pairs` has not been materialized.
    """
    table = pq.read_table(index_path(home), columns=["photo_id", "made_as"], filters=[("split", "==", "train")])
    words = pc.binary_join_element_wise(table["photo_id"], table["made_as"], " ")  # type: ignore[attr-defined]
    return words.combine_chunks()


def keep_trained_pairs(home: Home, pairs: pa.Array) -> None:
    """Write down that the latest pretrained generator learned from ``pairs``."""
    with atomic_path(_record(home)) as temporary:
        pq.write_table(pa.table({"pair": pairs}), temporary)


def changed_share(home: Home) -> float:
    """Pairs that joined or left since the last training, as a share of those that it had; 1 where it is not known.

    What came and went again in between does not count; a pair that was made anew counts twice, as gone and as come.
    """
    today = pairs_that_train(home)
    try:
        learned = pq.read_table(_record(home))["pair"].combine_chunks()
    except (FileNotFoundError, pa.ArrowInvalid, KeyError):  # never trained, by an older version, or damaged
        return 1.0
    if not len(learned):
        return 1.0
    same = pc.is_in(today, value_set=learned).true_count  # type: ignore[attr-defined]
    return float(len(today) + len(learned) - 2 * same) / len(learned)


def _record(home: Home) -> Path:
    return home.models / "pretrained_generator" / TRAINED_PAIRS
