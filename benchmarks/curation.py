"""How often is curation right: colour kept, grey and toned refused, drawings refused, borders trimmed?

Belongs here: the pictures, the runs and the tables. How pictures are altered is in `altered`, how drawings are made in
`not_photographs`.

`curated_photos` is made of a home that holds the photographs as they are, each in a cluster of its own, and drawn maps,
posters, pages and collages. Then every colour photograph is turned grey, sepia, selenium, blue, two-coloured, magenta
and tinted with 4 % of its chroma, saved as it is and as a JPEG of quality 75, and judged without its borders. Last, the
middle of every colour photograph gets borders of its own.

--photos takes the folder that holds `fsac_1939_1944` (colour) and `korean_war_1950_1953` (whose index.csv has a column
`tone`) and, if it likes, `natural_colour`; or one folder with an index.csv, where what its column `tone` calls bw is
black and white and the rest colour. Without it, the few photographs that the package brings are used, which says
little.
"""

import csv
import io
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from altered import COLOURLESS, KINDS_OF_BORDERS, framed, saved, without_borders
from not_photographs import KINDS, drawn
from PIL import Image
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.photos import near_duplicates
from kwcolor_pipeline.photos.borders import Box, open_trimmed, open_upright, trim_box
from kwcolor_pipeline.photos.curation import curate, looks_coloured, read_curated
from kwcolor_pipeline.photos.parallel import on_all_cores
from kwcolor_pipeline.photos.rules import COLOURLESS as COLOURLESS_REASONS
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.sample import Role, read_index
from kwcolor_pipeline.settings import Settings, load_settings

_PACKAGES = ("kwcolor_pipeline", "pillow", "numpy", "scikit-image")
_COLOUR, _BW, _NATURAL = "colour photographs", "black-and-white stills", "natural photographs"
_FOLDERS = {_COLOUR: "fsac_1939_1944", _BW: "korean_war_1950_1953", _NATURAL: "natural_colour"}
#: A part of the folder of natural photographs is augmented: four photographs in one, with black squares.
_MOSAICS = "tanks_3338/"
_NATURAL_COUNT = 1600
_DRAWN_OF_EACH = 60
_SMALL_FILE = 75
#: How far a border may be missed, as a share of the side.
_MISSED = 0.02
#: Reasons that mean that a picture is no photograph.
_NO_PHOTOGRAPH = (
    *("not_a_photograph", "screenshot_or_logo", "drawing_or_map", "document_or_title_card"),
    "collage",
)


@dataclass(frozen=True)
class Photograph:
    """A picture file and what its index says of it."""

    path: Path
    title: str | None = None
    year: int | None = None


def collections(folder: Path | None) -> dict[str, list[Photograph]]:
    """Colour, black-and-white and natural photographs, each in the order of its index.

    Raises SystemExit with a sentence where ``folder`` is none of those that the help describes.
    """
    if folder is None:
        return {
            _COLOUR: [Photograph(one.path, one.title) for one in read_index() if one.role is Role.COLOUR],
            _BW: [Photograph(one.path, one.title) for one in read_index() if one.role is Role.TARGET],
        }
    if (folder / "index.csv").exists():
        rows = _listed(folder)
        is_bw = [row.get("tone") == "bw" for _, row in rows]
        return {
            name: [one for (one, _), bw in zip(rows, is_bw, strict=True) if bw == wanted]
            for name, wanted in ((_COLOUR, False), (_BW, True))
        }
    if not (folder / _FOLDERS[_COLOUR] / "index.csv").exists():
        raise SystemExit(f"{folder} holds neither an index.csv nor {_FOLDERS[_COLOUR]}; --help says what it may hold.")
    found = {name: _listed(folder / inside) for name, inside in _FOLDERS.items()}
    natural = [one for one, row in found[_NATURAL] if not row["file"].startswith(_MOSAICS)]
    return {
        _COLOUR: [one for one, _ in found[_COLOUR]],
        _BW: [one for one, row in found[_BW] if row.get("tone") == "bw"],
        _NATURAL: natural[:: max(1, len(natural) // _NATURAL_COUNT)],
    }


def _listed(folder: Path) -> list[tuple[Photograph, dict[str, str]]]:
    if not (folder / "index.csv").exists():
        return []
    with (folder / "index.csv").open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    return [
        (
            Photograph(folder / row["file"], row.get("title"), int(row["year"]) if row.get("year") else None),
            row,
        )
        for row in rows
    ]


def curated(settings: Settings, sets: dict[str, list[Photograph]], of_each: int) -> tuple[list[dict[str, Any]], float]:
    """The rows of `curated_photos`, whose ``source`` says which set each is of, and the seconds that it took."""
    store = PhotoStore(settings.paths.photos)
    rows: dict[str, dict[str, Any]] = {}

    def add(source: str, data: bytes, title: str | None, year: int | None) -> None:
        with Image.open(io.BytesIO(data)) as opened:
            photo_id = store.put(data, str(opened.format))
        about = {"photo_id": photo_id, "cluster_id": photo_id, "partition": str(year or "undated"), "source": source}
        rows[photo_id] = {**about, "title": title, "year_taken": year, "rank": 0, "representative": True}

    for name, photographs in sets.items():
        for one in photographs:
            add(name, one.path.read_bytes(), one.title, one.year)
    pasted = [without_borders(open_upright(one.path)) for one in sets[_COLOUR][:: max(1, len(sets[_COLOUR]) // 100)]]
    for kind in KINDS:
        for number in range(of_each):
            buffer = io.BytesIO()
            drawn(kind, number, pasted).save(buffer, "PNG")
            add(f"drawn: {kind}", buffer.getvalue(), None, None)
    path = settings.paths.manifests / "deduplicated_photos" / "all.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows.values()), schema=near_duplicates.SCHEMA), path)
    began = time.perf_counter()
    curate(settings)
    return read_curated(settings.paths), time.perf_counter() - began


def coloured_copies(path: Path) -> dict[str, bool] | None:
    """For each way of taking a photograph's colours whether they still pass for photographed ones.

    None where the photograph itself is refused as colourless: nothing can be taken from it.
    """
    picture = open_trimmed(path)
    if not looks_coloured(picture):
        return None
    answers = {}
    for name, make in COLOURLESS.items():
        copy = make(picture)
        answers[name] = looks_coloured(copy)
        answers[f"{name}, JPEG {_SMALL_FILE}"] = looks_coloured(saved(copy, _SMALL_FILE))
    return answers


def borders(numbered: tuple[int, Path]) -> tuple[str, bool, bool, float]:
    """The kind of border that a photograph was given, whether it was trimmed, and what was trimmed without one.

    The last two: whether more than ``_MISSED`` of a side was trimmed without a border, and the seconds of trimming.
    """
    number, path = numbered
    picture = without_borders(open_upright(path))
    one = framed(picture, number)
    began = time.perf_counter()
    box = trim_box(one.image)
    seconds = time.perf_counter() - began
    bare = trim_box(picture)
    return (
        one.kind,
        _furthest(box, one.picture, one.image.size) <= _MISSED,
        _furthest(bare, (0, 0, *picture.size), picture.size) > _MISSED,
        seconds,
    )


def _furthest(box: Box, wanted: Box, size: tuple[int, int]) -> float:
    """The largest distance of two boxes' edges as a share of the side."""
    return max(abs(one - other) / side for one, other, side in zip(box, wanted, (*size, *size), strict=True))


def _share(answers: Sequence[bool]) -> float | None:
    return sum(answers) / len(answers) if answers else None


def _reasons_table(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How many pictures of each set have each reason; `kept` is one of them, `to review` counts beside them."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[row["source"]][row["reason"] or "kept"] += 1
        counts[row["source"]]["to review"] += row["review"] is not None
    return {source: dict(of_source) for source, of_source in counts.items()}


def _promises_of_rows(rows: Sequence[dict[str, Any]]) -> list[Promise]:
    of_source: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_source[row["source"]].append(row)
    kept = _share([row["kept"] for row in of_source[_COLOUR]])
    refused = _share([row["reason"] in COLOURLESS_REASONS for row in of_source[_BW]])
    promises = [
        Promise.at_least("colour_kept", kept, 0.97, f"share of {len(of_source[_COLOUR])} {_COLOUR} that are kept"),
        Promise.at_least(
            "black_and_white_refused", refused, 0.99, f"share of {len(of_source[_BW])} {_BW} refused as colourless"
        ),
    ]
    for name in (_COLOUR, _NATURAL):
        if of_source[name]:
            wrong = _share([row["reason"] in _NO_PHOTOGRAPH for row in of_source[name]])
            how = f"share of {len(of_source[name])} {name} taken for drawings, pages, screenshots or collages"
            promises.append(Promise.at_most(f"{name.split()[0]}_taken_for_drawings", wrong, 0.01, how))
    return promises


def main() -> int:
    """Measure and report; the exit status."""
    asked = options(__doc__ or "").parse_args()
    sets = collections(asked.photos)
    if not asked.photos:
        say("No --photos: the few photographs that the package brings are used, which says little.")
    of_each = _DRAWN_OF_EACH
    bordered = [one.path for one in sets[_COLOUR]]  # quick, however many there are
    if asked.quick:
        sets = {name: photographs[:: max(1, len(photographs) // 60)] for name, photographs in sets.items()}
        of_each = 4
    colour = [one.path for one in sets[_COLOUR]]
    altered = colour[:: max(1, len(colour) // 20)] if asked.quick else colour
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as folder:
        machine = machine_facts(_PACKAGES, Path(folder))
        settings = load_settings(home=Path(folder) / "home", sources=["sample"])
        rows, seconds = curated(settings, sets, of_each)
        settings.curation.min_side += 1
        began = time.perf_counter()
        curate(settings)
        again = time.perf_counter() - began
    say(f"{len(rows)} pictures curated in {seconds:.1f} s, and with another bound in {again:.2f} s.")
    reasons = _reasons_table(rows)
    names = sorted({name for of_set in reasons.values() for name in of_set})
    say(
        table(
            ["pictures", *names], [[one, *(of_set.get(name, 0) for name in names)] for one, of_set in reasons.items()]
        )
    )
    answers = [one for one in on_all_cores(coloured_copies, altered, worthwhile=16) if one]
    passed = {name: [one[name] for one in answers] for name in answers[0]} if answers else {}
    refused = {name: 1 - sum(of_name) / len(of_name) for name, of_name in passed.items()}
    say()
    say(table(["copies without colours", f"refused, of {len(answers)}"], sorted(refused.items())))
    trimmed = list(on_all_cores(borders, list(enumerate(bordered)), worthwhile=64))
    by_kind = {kind: _share([right for name, right, _, _ in trimmed if name == kind]) for kind in KINDS_OF_BORDERS}
    say()
    say(table(["borders", "trimmed within 2 %"], sorted(by_kind.items())))
    plain = {name: share for name, share in refused.items() if "JPEG" not in name}
    files = {name: share for name, share in refused.items() if "JPEG" in name}
    promises = [
        *_promises_of_rows(rows),
        Promise.at_least(
            "colourless_copies_refused",
            min(plain.values(), default=None),
            0.98,
            f"share refused of {len(answers)} photographs without their colours, the worst of {len(plain)} ways",
        ),
        Promise.at_least(
            "colourless_small_files_refused",
            min(files.values(), default=None),
            0.98,
            f"the same of copies saved as JPEG {_SMALL_FILE}",
        ),
        Promise.at_least(
            "borders_trimmed",
            _share([right for _, right, _, _ in trimmed]),
            0.95,
            f"share of {len(trimmed)} pictures with added borders where each side is within 2 % of its length",
        ),
        Promise.at_most(
            "trimmed_without_borders",
            _share([wrong for _, _, wrong, _ in trimmed]),
            0.02,
            "share of the same pictures without borders that lose more than 2 % of a side",
        ),
    ]
    facts = {
        "photographs": {name: len(photographs) for name, photographs in sets.items()},
        "package_photographs_only": not asked.photos,
        "reasons": reasons,
        "curate_seconds": seconds,
        "curate_again_seconds": again,
        "colourless_copies": {"photographs": len(answers), "refused": refused},
        "borders": {
            "trimmed": by_kind,
            "milliseconds": 1000 * sum(seconds for *_, seconds in trimmed) / max(len(trimmed), 1),
        },
    }
    scaled = [f"{of_each} drawn pictures of each kind, about 60 photographs of each set, 20 of them without colours"]
    return conclude(asked, "curation", promises, facts, machine, scaled if asked.quick else ())


if __name__ == "__main__":
    sys.exit(main())
