"""The starter's photographs: crawled from folders, without copies, curated, and split for good.

Belongs here: which photographs, and which of them the starter never learns from. The Kodachromes are of the time that
the pipeline is for, so a quarter of them is kept apart; of the other photographs a few are enough to tell whether
colours outside of that time are right.
"""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.photos.curation import curate, read_curated
from kwcolor_pipeline.photos.manifest import crawl_partitions
from kwcolor_pipeline.photos.near_duplicates import deduplicate, read_deduplicated
from kwcolor_pipeline.photos.pairs import make_pairs
from kwcolor_pipeline.photos.splits import write_ledger
from kwcolor_pipeline.settings import Settings, load_settings
from starter_training.photographs import SIDE, is_kodachrome

KODACHROMES = "fsac_1939_1944"
#: Folders below the photographs' own that are learned from.
FOLDERS = (KODACHROMES, "natural_colour")
#: Shares of clusters that are only measured on, and that choose the epoch.
_SHARES = {True: {"test": 0.25, "valid": 0.06}, False: {"test": 0.03, "valid": 0.02}}


def split_of(cluster: str, kodachrome: bool) -> str:
    """The split of a cluster: fixed by its name, so that other photographs beside it change nothing."""
    place = int.from_bytes(hashlib.sha256(f"starter {cluster}".encode()).digest()[:8]) / 2**64
    for split, share in _SHARES[kodachrome].items():
        if place < share:
            return split
        place -= share
    return "train"


def collected(photos: Path, work: Path) -> Settings:
    """Settings of the home ``work/photographs`` with pairs of the photographs below ``photos``.

    What is there already is taken as it is.
    """
    settings = load_settings(
        home=work / "photographs",
        sources=[f"folder:{photos / folder}" for folder in FOLDERS],
        pairs={"size": SIDE},
        # Of ten thousand photographs of anything, each with the two that are most like it: copies are nearer than that.
        near_duplicates={"neighbours": 2},
        # The other photographs are of any year: they teach grass, skies and skin.
        curation={"first_year_taken": 1800, "last_year_taken": 2100},
    )
    opened = open_sources(settings.sources, settings, target=False)
    for year in sorted(set().union(*(source.covers(crawl_partitions()) for source in opened))):
        crawl_partition(settings, opened, "crawled_photos", year)
    deduplicate(settings)
    curate(settings)
    write_ledger(settings.paths, _splits(settings))
    make_pairs(settings)
    return settings


def _splits(settings: Settings) -> dict[str, str]:
    """The split of every photograph, whether it was kept or not."""
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_deduplicated(settings.paths):
        members[row["cluster_id"]].append(row)
    clusters = {row["cluster_id"] for row in read_curated(settings.paths) if row["kept"]}
    return {
        row["photo_id"]: split_of(cluster, any(map(is_kodachrome, members[cluster])))
        for cluster in clusters
        for row in members[cluster]
    }
