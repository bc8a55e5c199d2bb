"""What does another year cost in a store that holds many?

Belongs here: the drawn photographs, the two runs and the promises. The stages are the package's.

A home holds photographs of fourteen years; `deduplicated_photos`, `curated_photos` and `grayscale_pairs` are made of it
from nothing. Then one more year is crawled, a fourteenth as many, and the three are made again. One photograph in
ten is a copy of another year's, packed more strongly. What was hashed, embedded, measured or decolorized before must
not be so again.
"""

import datetime
import functools
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pictures import drawn
from PIL import Image
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.photos.curation import curate
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, write_manifest
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline.photos.pairs import make_pairs
from kwcolor_pipeline.photos.parallel import available_cores, on_all_cores
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings

YEARS = [str(year) for year in range(1935, 1949)]
NEW_YEAR = "1949"
_SIZE, _COLOUR = (320, 240), 0.4
# One in so many photographs is a copy of the one before it.
_COPIES = 10
_SHARE = 0.2
_PACKAGES = ("kwcolor_pipeline", "torch", "pillow", "imagehash", "pyarrow")
_STAGES = {"deduplicated_photos": deduplicate, "curated_photos": curate, "grayscale_pairs": make_pairs}


def stored(store: PhotoStore, number: int) -> str:
    """Draw the photograph of that number and store it; its id."""
    if number % _COPIES or not number:
        return store.put(drawn(number, _SIZE, _COLOUR), "JPEG")
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(drawn(number - 1, _SIZE, _COLOUR))) as picture:
        picture.save(buffer, "JPEG", quality=60)
    return store.put(buffer.getvalue(), "JPEG")


def crawl(settings: Settings, year: str, photo_ids: list[str]) -> None:
    """Write the manifest of a year, as its crawl would."""
    now = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
    rows = [
        ManifestRow(
            source="folder",
            source_id=photo_id,
            file_url=f"file:///{photo_id}.jpg",
            title=f"Photograph {photo_id[:8]}",
            photo_id=photo_id,
            width=_SIZE[0],
            height=_SIZE[1],
            year_taken=int(year),
            retrieved_at=now,
            status=Status.STORED,
        )
        for photo_id in photo_ids
    ]
    write_manifest(settings.paths.manifests / "crawled_photos" / f"{year}.parquet", rows)


def run(settings: Settings) -> dict[str, dict[str, Any]]:
    """Seconds and summary of each stage."""
    stages = {}
    for name, stage in _STAGES.items():
        start = time.perf_counter()
        made = stage(settings)
        stages[name] = {"seconds": time.perf_counter() - start, **made.result.summary}
        say(f"  {name}: {stages[name]}")
    return stages


def main() -> int:
    """Measure and report; the exit status."""
    asked = options(__doc__ or "", photos=False).parse_args()
    a_year = (700 if asked.quick else 50_000) // len(YEARS)
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as temporary:
        machine = machine_facts(_PACKAGES, Path(temporary))
        settings = Settings(home=Path(temporary) / "home")
        count = a_year * (len(YEARS) + 1)
        say(f"drawing {count} photographs")
        draw = functools.partial(stored, PhotoStore(settings.paths.photos))
        photo_ids = list(on_all_cores(draw, range(count)))
        # A copy lies in another year than its original.
        for place, year in enumerate(YEARS):
            crawl(settings, year, photo_ids[place :: len(YEARS) + 1])
        say(f"{a_year * len(YEARS)} photographs of {len(YEARS)} years")
        full = run(settings)
        crawl(settings, NEW_YEAR, photo_ids[len(YEARS) :: len(YEARS) + 1])
        say(f"{a_year} photographs of another year")
        added = run(settings)
    shares = {name: added[name]["seconds"] / full[name]["seconds"] for name in _STAGES}
    seconds = [sum(stage["seconds"] for stage in stages.values()) for stages in (full, added)]
    say()
    rows = [[name, full[name]["seconds"], added[name]["seconds"], shares[name]] for name in _STAGES]
    rows.append(["all", *seconds, seconds[1] / seconds[0]])
    say(table(["stage, seconds", "from nothing", "a year more", "share"], rows))
    deduplicated, curated, pairs = (added[name] for name in _STAGES)
    promises = [
        Promise.at_most(
            "share_of_a_full_run",
            seconds[1] / seconds[0],
            _SHARE,
            "seconds of the three stages after another year over those from nothing without it",
        ),
        *(
            Promise.at_most(name, done, a_year, f"photographs of which this was done after another year of {a_year}")
            for name, done in (
                ("hashed", deduplicated["newly_hashed"]),
                ("embedded", deduplicated["newly_embedded"]),
                ("measured", curated["newly_measured"]),
                ("made_into_pairs", pairs["pairs_made"]),
            )
        ),
    ]
    scaled = [f"{a_year} photographs a year"] if asked.quick else []
    measured = {"a_year": a_year, "full": full, "added": added, "shares": shares, "cores": available_cores()}
    return conclude(asked, "another_year", promises, measured, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
