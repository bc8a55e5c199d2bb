"""The page of clusters: copies of one photograph side by side, for people who want to see what was taken for copies.

Belongs here: which clusters are shown, and the page. What makes a cluster does not.
"""

import itertools
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwcolor_pipeline.evaluation.pages import data_uris, environment
from kwcolor_pipeline.home import Home, write_bytes
from kwcolor_pipeline.photos.borders import open_upright
from kwcolor_pipeline.photos.measured import UNREADABLE
from kwcolor_pipeline.photos.near_duplicates import read_deduplicated
from kwcolor_pipeline.photos.store import PhotoStore

log = logging.getLogger(__name__)

#: Clusters and copies of one that are shown, and the page's pictures in bytes.
MOST_CLUSTERS, MOST_COPIES = 120, 6
_BUDGET = 4_000_000
_SIDE = 240


def cluster_sheet_path(home: Home) -> Path:
    """Where the page lies."""
    return home.reports / "deduplicated_photos" / "clusters.html"


def write_cluster_sheet(home: Home) -> Path:
    """Write the page, one file without scripts and without anything from outside; clusters of the most copies first.

    Raises FileNotFoundError where `deduplicated_photos` has not been materialized.
    """
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_deduplicated(home):
        members[row["cluster_id"]].append(row)
    several = {name: sorted(rows, key=lambda row: row["rank"]) for name, rows in members.items() if len(rows) > 1}
    shown = sorted(several.items(), key=lambda item: (-len(item[1]), item[0]))[:MOST_CLUSTERS]
    store = PhotoStore(home.photos)
    copies = [(row, _small(store, row["photo_id"])) for _, rows in shown for row in rows[:MOST_COPIES]]
    uris = iter(data_uris([picture for _, picture in copies if picture is not None], _BUDGET))
    pictures = {row["photo_id"]: next(uris) for row, picture in copies if picture is not None}
    page = environment().get_template("clusters.html.j2")
    html = page.render(
        clusters=[_described(rows, pictures) for _, rows in shown],
        photographs=sum(map(len, members.values())),
        different=len(members),
        several=len(several),
    )
    path = cluster_sheet_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, html.encode())
    return path


def _small(store: PhotoStore, photo_id: str) -> NDArray[np.uint8] | None:
    try:
        picture = open_upright(store.find(photo_id))
    except UNREADABLE as error:  # a missing file is one too: the sheet shows what is there
        log.warning("photograph %s… is not shown on the page of clusters: %s", photo_id[:12], error)
        return None
    picture.thumbnail((_SIDE, _SIDE))
    return np.asarray(picture)


def _described(rows: Sequence[dict[str, Any]], pictures: dict[str, str]) -> dict[str, Any]:
    return {
        "title": rows[0]["title"] or "untitled",
        "count": len(rows),
        "hidden": max(0, len(rows) - MOST_COPIES),
        "copies": [
            {
                "picture": pictures.get(row["photo_id"]),
                "best": row["rank"] == 0,
                "size": f"{row['width']} × {row['height']}" if row["width"] else "size unknown",
                "source": row["source"],
                "year": row["partition"],
                "licence": row["licence"],
                "landing_url": row["landing_url"],
                "photo_id": row["photo_id"],
            }
            for row in itertools.islice(rows, MOST_COPIES)
        ],
    }
