"""How many copies of photographs are found as such, kind by kind, and how many different ones are taken for copies?

Belongs here: the photographs, the runs and the table. How copies are made is in `copies`.

For each kind of copy a home holds the photographs and one copy of each, and `deduplicated_photos` is made of it, with
its defaults. A copy is found when it lies in its photograph's cluster. Beside it: imagehash's phash of the files as
they are, within 8 bits. --photos takes a folder with an index.csv, or one whose folders have them; without it, the
few photographs of the package are cut into pieces, which says little.
"""

import csv
import datetime
import io
import itertools
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagehash
from copies import COPIES
from PIL import Image
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.photos.borders import open_upright
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, write_manifest
from kwcolor_pipeline.photos.near_duplicates import deduplicate, read_deduplicated
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.sample import Role, read_index
from kwcolor_pipeline.settings import Settings, load_settings

_PACKAGES = ("kwcolor_pipeline", "pillow", "imagehash", "numpy", "torch")
_PRECISION = 0.999
_PAIRS = 4000
_ORIGINALS, _COPIES = "1942", "1943"


def photographs(folder: Path | None, count: int) -> list[Image.Image]:
    """``count`` photographs, the same ones each time, from all collections in ``folder`` alike."""
    if folder is None:
        return _pieces(count)
    indices = [folder / "index.csv"] if (folder / "index.csv").exists() else sorted(folder.glob("*/index.csv"))
    collections = []
    for index in indices:
        with index.open(newline="", encoding="utf-8-sig") as handle:
            collections.append([index.parent / row["file"] for row in csv.DictReader(handle)])
    if not collections:
        raise SystemExit(f"{folder} has no index.csv, nor have its folders; name a folder of photographs.")
    drawn = random.Random(1935)
    for files in collections:
        drawn.shuffle(files)
    turns = (path for group in itertools.zip_longest(*collections) for path in group if path)
    return [open_upright(path) for path in itertools.islice(turns, count)]


def _pieces(count: int) -> list[Image.Image]:
    """Quarters of the photographs that the package brings."""
    pieces = []
    for picture in (open_upright(one.path) for one in read_index() if one.role == Role.COLOUR):
        half, middle = picture.width // 2, picture.height // 2
        pieces += [picture.crop((left, top, left + half, top + middle)) for left in (0, half) for top in (0, middle)]
    return pieces[:count]


def store(settings: Settings, partition: str, pictures: Sequence[Image.Image]) -> list[str]:
    """Put the pictures into the home as photographs of one year; their ids."""
    photos = PhotoStore(settings.paths.photos)
    rows, ids = [], []
    for number, picture in enumerate(pictures):
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=90)
        ids.append(photos.put(buffer.getvalue(), "JPEG"))
        rows.append(
            ManifestRow(
                photo_id=ids[-1],
                source="folder",
                source_id=f"{partition}-{number}",
                file_url="file:///picture",
                retrieved_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
                width=picture.width,
                height=picture.height,
                status=Status.STORED,
            )
        )
    write_manifest(settings.paths.manifests / "crawled_photos" / f"{partition}.parquet", rows)
    return ids


def clusters(settings: Settings) -> dict[str, str]:
    """The cluster of every photograph in the home."""
    deduplicate(settings)
    return {row["photo_id"]: row["cluster_id"] for row in read_deduplicated(settings.paths)}


def main() -> int:
    """Measure, print the table and the JSON object; gives the exit status."""
    asked = options(__doc__ or "").parse_args()
    count = 60 if asked.quick else 400
    pictures = photographs(asked.photos, count)
    rows: list[dict[str, Any]] = []
    wrong = checked = all_wrong = all_checked = 0
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(home=Path(folder) / "home")
        settings.paths.root.mkdir()
        machine = machine_facts(_PACKAGES, settings.paths.root)
        originals = store(settings, _ORIGINALS, pictures)
        alone = clusters(settings)
        hashes = [imagehash.phash(picture) for picture in pictures]
        drawn = random.Random(1935)
        for name, (make, wanted) in COPIES.items():
            made = [make(picture, number) for number, picture in enumerate(pictures)]
            copies = store(settings, _COPIES, made)
            cluster = clusters(settings)
            pairs = list(zip(originals, copies, strict=True))
            strangers = [
                (one, copy)
                for place, one in enumerate(originals)
                for other, copy in enumerate(copies)
                if place != other and alone[one] != alone[originals[other]]
            ]
            sample = drawn.sample(strangers, min(len(strangers), -(-_PAIRS // len(COPIES))))
            wrong += sum(cluster[one] == cluster[copy] for one, copy in sample)
            all_wrong += sum(cluster[one] == cluster[copy] for one, copy in strangers)
            checked, all_checked = checked + len(sample), all_checked + len(strangers)
            known = sum(one - imagehash.phash(copy) <= 8 for one, copy in zip(hashes, made, strict=True))
            found = sum(cluster[one] == cluster[copy] for one, copy in pairs)
            rows.append(
                {"copy": name, "recall": found / len(pictures), "wanted": wanted, "imagehash": known / len(pictures)}
            )
            say(f"{name}: {found} of {len(pairs)}, imagehash {known}")
    found_in_all = sum(row["recall"] for row in rows) * len(pictures)
    precision = found_in_all / max(1, found_in_all + wrong)
    say()
    say(table(["copy", "found", "promised", "imagehash alone"], [list(row.values()) for row in rows]))
    say(f"Different photographs taken for copies: {wrong} of {checked} pairs, {all_wrong} of all {all_checked}.")
    promises = [
        Promise.at_least(f"recall, {row['copy']}", row["recall"], row["wanted"], "copies in their photograph's cluster")
        for row in rows
    ]
    how = f"copies found over copies found and pairs of different photographs in one cluster, of {checked} such pairs"
    promises.append(Promise.at_least("precision", precision, _PRECISION, how))
    facts = {
        "photographs": len(pictures),
        "clusters_of_the_photographs_alone": len(set(alone.values())),
        "pairs_of_different_photographs": checked,
        "taken_for_copies": wrong,
        "all_pairs_of_different_photographs": all_checked,
        "all_taken_for_copies": all_wrong,
        "copies": rows,
    }
    scaled = [f"{len(pictures)} photographs instead of 400"] if len(pictures) < 400 else []
    return conclude(asked, "duplicate_recall", promises, facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
