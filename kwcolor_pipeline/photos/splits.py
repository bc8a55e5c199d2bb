"""Which photographs train, which choose the checkpoint and which only measure; and that it stays so.

Belongs here: the splits of clusters, and the ledger ``pairs/ledger.parquet``, which remembers the split of
every photograph that ever was in one. Where the pairs of a split lie is the affair of ``shards``.
"""

import hashlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kwcolor_pipeline.home import Home, atomic_path
from kwcolor_pipeline.settings import PairSettings, SettingsProblem

#: Weakest claim first: a photograph that is claimed by several splits goes to the last one.
SPLITS = ("train", "valid", "test")

_SCHEMA = pa.schema([("photo_id", pa.string()), ("split", pa.string())])


def assign_splits(
    clusters: dict[str, list[str]],
    ledger: dict[str, str],
    wanted: PairSettings,
    only_train: Collection[str] = frozenset(),
) -> dict[str, str]:
    """The split of every cluster; ``clusters`` lists the photo_ids in each, ``ledger`` their earlier splits.

    A cluster stays where its photographs were; of several splits test wins over valid over train.
    New clusters go, in an order that is fixed but arbitrary, where most are lacking; those of ``only_train`` train.
    Nothing ever leaves test. Raises SettingsProblem where a split would stay empty.
    """
    if len(clusters) < 3:
        raise SettingsProblem(
            f"Only {len(clusters)} different photographs are left for training and measuring, at least 3 are needed; "
            "crawl more years or sources, or look at the reasons in manifests/curated_photos."
        )
    split_of = {}
    for cluster, members in clusters.items():
        claims = [ledger[member] for member in members if member in ledger]
        if claims:
            split_of[cluster] = max(claims, key=SPLITS.index)
        elif cluster in only_train:
            split_of[cluster] = "train"
    shares = {"test": wanted.test_share, "valid": wanted.valid_share}
    shares["train"] = 1 - sum(shares.values())
    counts = Counter(split_of.values())
    for cluster in sorted(clusters.keys() - split_of.keys(), key=lambda key: hashlib.sha256(key.encode()).digest()):
        empty = [split for split in shares if not counts[split]]
        split = empty[0] if empty else max(shares, key=lambda key: shares[key] * len(clusters) - counts[key])
        split_of[cluster] = split
        counts[split] += 1
    lacking = [split for split in SPLITS if not counts[split]]
    if lacking:
        raise SettingsProblem(
            f"No photograph is left for {' and '.join(lacking)}, because all of them were in other splits before or "
            "are the starter's own; crawl more years or sources."
        )
    return split_of


def remembered(ledger: dict[str, str], split_of: dict[str, str], clusters: dict[str, list[str]]) -> dict[str, str]:
    """The ledger after ``clusters`` went where ``split_of`` says: copies that are not shown count as well."""
    return ledger | {member: split for cluster, split in split_of.items() for member in clusters[cluster]}


def read_ledger(home: Home) -> dict[str, str]:
    """photo_id to split of every photograph that ever was in one.

    Raises SettingsProblem where the ledger is damaged.
    """
    path = _ledger(home)
    if not path.exists():
        return {}
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise SettingsProblem(
            f"{path} is damaged; put it back from a backup: it keeps test photographs apart."
        ) from error
    return dict(zip(table["photo_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def write_ledger(home: Home, ledger: dict[str, str]) -> None:
    """Write the ledger, ordered by photo_id."""
    ordered = sorted(ledger)
    columns = {"photo_id": ordered, "split": [ledger[photo_id] for photo_id in ordered]}
    with atomic_path(_ledger(home)) as temporary:
        pq.write_table(pa.table(columns, schema=_SCHEMA), temporary)


def _ledger(home: Home) -> Path:
    return home.pairs / "ledger.parquet"
