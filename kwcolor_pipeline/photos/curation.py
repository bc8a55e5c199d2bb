"""Curation: which representatives may be learned from, and why the others may not.

Belongs here: the true-colour test, the test for drawings, a person's decisions, and the asset's table
``manifests/curated_photos/all.parquet``. What becomes of the kept photographs is the affair of ``pairs``.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kwcolor_pipeline.home import Home, Result, atomic_path, fingerprint
from kwcolor_pipeline.photos.borders import BORDERS_VERSION, open_upright, trim_box
from kwcolor_pipeline.photos.measured import Progress, Row, measure_once
from kwcolor_pipeline.photos.near_duplicates import read_deduplicated
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import CurationSettings, Settings, SettingsProblem

#: Raise it when the same inputs and settings would give another result.
CODE_VERSION = "1"
#: Raise it when the same picture would measure differently.
MEASURE_VERSION = f"1 borders={BORDERS_VERSION} pillow={PIL.__version__}"

#: What is measured of a picture; pixels are of the upright picture, the rest is told by :func:`measure`.
MEASURES = pa.schema(
    [
        ("picture_width", pa.int32()),
        ("picture_height", pa.int32()),
        ("left", pa.int32()),
        ("top", pa.int32()),
        ("right", pa.int32()),
        ("bottom", pa.int32()),
        ("strong_chroma", pa.float32()),
        ("chroma", pa.float32()),
        ("spread", pa.float32()),
        ("even_share", pa.float32()),
        ("transparent_share", pa.float32()),
    ]
)

#: Columns of the representative that go with it.
METADATA = (
    "photo_id",
    "cluster_id",
    "partition",
    "source",
    "title",
    "creator",
    "licence",
    "licence_url",
    "landing_url",
    "date_text",
    "year_taken",
    "year_published",
)

SCHEMA = pa.schema(
    [
        *((name, pa.int32() if name.startswith("year") else pa.string()) for name in METADATA),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("decided_by", pa.string()),
        *MEASURES,
        ("error", pa.string()),
    ]
)

# Colours are judged on copies this small: the chroma of small JPEG files is blocks of 16 pixels.
_SPREAD_SIDE = 32
_CHROMA_SIDE = 96
# Groups of equally many pixels of about equal lightness.
_LIGHTNESS_GROUPS = 20
# Evenness is judged on this copy; darker pixels are even in night photographs as well.
_EVEN_SIDE = 256
_DARK = 32


@dataclass(frozen=True)
class Curated:
    """The asset: its record, its table (columns: ``SCHEMA``), and whether it was there already."""

    result: Result
    table: Path
    reused: bool


def curate(settings: Settings, progress: Progress | None = None) -> Curated:
    """Keep or reject every representative of `deduplicated_photos`; every rejection has a reason.

    Reasons: `unreadable`, `title_says_colorized`, `too_small`, `not_a_photograph`, `not_colour`,
    `toned`, and `turned_down` by a person. Decisions in ``review/decisions.csv`` (columns photo_id
    and decision, keep or reject) win over the rules, except that unreadable stays unreadable.
    Raises SettingsProblem where that file cannot be used.
    """
    home = settings.paths
    representatives = _representatives(home)
    decisions = _decisions(home)
    wanted = _fingerprint(settings, representatives, decisions)
    recorded = _current(home, wanted)
    if recorded:
        return Curated(recorded, _table(home), reused=True)
    store = PhotoStore(home.photos)
    measures, newly_measured = measure_once(
        home.manifests / "curated_photos" / "measures.parquet",
        MEASURE_VERSION,
        [row["photo_id"] for row in representatives],
        lambda photo_id: _measures_of(store.find(photo_id)),
        MEASURES,
        progress,
    )
    rows = [_judged(row, measures[row["photo_id"]], decisions, settings.curation) for row in representatives]
    kept = [row for row in rows if row["kept"]]
    rejected = Counter(row["reason"] for row in rows if not row["kept"])
    summary = {
        "photographs": len(rows),
        "kept": len(kept),
        "rejected": dict(sorted(rejected.items())),
        "decided_by_people": sum(row["decided_by"] == "person" for row in rows),
        "newly_measured": newly_measured,
    }
    learned_from = [{key: row[key] for key in (*METADATA, "left", "top", "right", "bottom")} for row in kept]
    with atomic_path(_table(home)) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    result = Result(wanted, fingerprint(learned_from), summary)
    result.write(_record(home))
    return Curated(result, _table(home), reused=False)


def curate_is_current(settings: Settings) -> bool:
    """Whether :func:`curate` would return the recorded result."""
    home = settings.paths
    return _current(home, _fingerprint(settings, _representatives(home), _decisions(home))) is not None


def read_curated(home: Home) -> list[dict[str, Any]]:
    """The rows of the asset's table (columns: ``SCHEMA``).

    Raises FileNotFoundError where `curated_photos` has not been materialized.
    """
    if not _table(home).exists():
        raise FileNotFoundError(f"{_table(home)} is not there; materialize curated_photos first")
    rows: list[dict[str, Any]] = pq.read_table(_table(home)).to_pylist()
    return rows


def looks_coloured(image: Image.Image, wanted: CurationSettings | None = None) -> bool:
    """Whether the colours of ``image`` (without borders) were photographed: neither grey nor toned nor tinted."""
    wanted = wanted or CurationSettings()
    measures = measure(image)
    return measures["strong_chroma"] >= wanted.min_strong_chroma and not _is_toned(measures, wanted)


def measure(image: Image.Image) -> dict[str, float]:
    """What tells a colour photograph from other pictures, of ``image`` without its borders.

    ``strong_chroma``: 95th percentile of CIELAB chroma. ``chroma``: its root mean square.
    ``spread``: root mean square distance of a*, b* from what the lightness explains, in chroma
    units. Toning (sepia, selenium, faded dyes) makes colour a function of lightness, so the spread
    is near zero however strong the tone; a photograph of a blue sky has white clouds of a blue's
    lightness. ``even_share``: share of pixels that equal their neighbours exactly and are not dark.
    """
    rgb = image.convert("RGB")
    strong = np.quantile(_chroma(_lab(rgb, _CHROMA_SIDE)), 0.95)
    lab = _lab(rgb, _SPREAD_SIDE)
    return {
        "strong_chroma": float(strong),
        "chroma": float(np.sqrt(np.mean(_chroma(lab) ** 2))),
        "spread": _spread(lab),
        "even_share": _even_share(rgb),
    }


def _lab(rgb: Image.Image, side: int) -> npt.NDArray[np.float64]:
    """CIELAB (D65) [pixels, 3] of a copy of at most ``side`` pixels a side."""
    from skimage.color import rgb2lab

    small = rgb.copy()
    small.thumbnail((side, side), Image.Resampling.BOX)
    lab: npt.NDArray[np.float64] = rgb2lab(np.asarray(small)).reshape(-1, 3)
    return lab


def _chroma(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.hypot(lab[:, 1], lab[:, 2])


def _spread(lab: npt.NDArray[np.float64]) -> float:
    """Root mean square distance of a*, b* from a line fitted over L* in groups of about equal L*."""
    ordered = lab[np.argsort(lab[:, 0], kind="stable")]
    squares = [_squared_residuals(group) for group in np.array_split(ordered, _LIGHTNESS_GROUPS) if len(group)]
    return float(np.sqrt(np.concatenate(squares).mean()))


def _squared_residuals(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centred = lab - lab.mean(axis=0)
    lightness, colour = centred[:, :1], centred[:, 1:]
    variation = float((lightness**2).sum())
    slope = (lightness * colour).sum(axis=0) / variation if variation > 1e-6 else np.zeros(2)
    squares: npt.NDArray[np.float64] = ((colour - lightness * slope) ** 2).sum(axis=1)
    return squares


def _even_share(rgb: Image.Image) -> float:
    small = rgb.copy()
    small.thumbnail((_EVEN_SIDE, _EVEN_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small)
    if min(pixels.shape[:2]) < 2:
        return 0.0
    here = pixels[:-1, :-1]
    even = (here == pixels[:-1, 1:]).all(axis=2) & (here == pixels[1:, :-1]).all(axis=2)
    light = np.asarray(small.convert("L"))[:-1, :-1] > _DARK
    return float((even & light).mean())


def _measures_of(path: Path) -> Row:
    image = open_upright(path)
    box = trim_box(image)
    return {
        "picture_width": image.width,
        "picture_height": image.height,
        **dict(zip(("left", "top", "right", "bottom"), box, strict=True)),
        **measure(image.crop(box)),
        "transparent_share": _transparent_share(path),
    }


def _transparent_share(path: Path) -> float:
    with Image.open(path) as opened:
        if not opened.has_transparency_data:
            return 0.0
        alpha = np.asarray(opened.convert("RGBA").getchannel("A"))
    return float((alpha < 128).mean())


def _judged(row: Row, measures: Row, decisions: dict[str, str], wanted: CurationSettings) -> Row:
    decision = decisions.get(row["photo_id"])
    reason: str | None
    if measures["error"]:
        reason, decided_by = "unreadable", "rule"
    elif decision:
        reason, decided_by = (None if decision == "keep" else "turned_down"), "person"
    else:
        reason, decided_by = _problem(row, measures, wanted), "rule"
    return {
        **{name: row[name] for name in METADATA},
        **measures,
        "kept": reason is None,
        "reason": reason,
        "decided_by": decided_by,
    }


def _problem(row: Row, measures: Row, wanted: CurationSettings) -> str | None:
    """Why the rules refuse a readable photograph; None where they keep it."""
    title = (row["title"] or "").casefold()
    if any(word.casefold() in title for word in wanted.refuse_words):
        return "title_says_colorized"
    if min(measures["right"] - measures["left"], measures["bottom"] - measures["top"]) < wanted.min_side:
        return "too_small"
    if measures["strong_chroma"] < wanted.min_strong_chroma:
        return "not_colour"
    if (
        measures["even_share"] > wanted.max_even_share
        or measures["transparent_share"] > wanted.max_transparent_share
        or measures["spread"] > wanted.max_spread
    ):
        return "not_a_photograph"
    return "toned" if _is_toned(measures, wanted) else None


def _is_toned(measures: dict[str, Any], wanted: CurationSettings) -> bool:
    spread = measures["spread"]
    doubtful = spread < wanted.doubtful_spread and spread < wanted.toned_share * measures["chroma"]
    return spread < wanted.toned_spread or doubtful


def _representatives(home: Home) -> list[Row]:
    return [row for row in read_deduplicated(home) if row["representative"]]


def _decisions(home: Home) -> dict[str, str]:
    """What people decided: photo_id -> keep or reject; the last line about a photograph counts."""
    path = home.root / "review" / "decisions.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as handle:
        table = csv.DictReader(handle)
        if not {"photo_id", "decision"} <= set(table.fieldnames or ()):
            raise SettingsProblem(f"{path} needs a first line with the columns photo_id and decision.")
        decisions = {}
        for line in table:
            if line["decision"] not in ("keep", "reject"):
                raise SettingsProblem(
                    f"{path}, line {table.line_num}: the decision is {line['decision']!r}; write keep or reject."
                )
            decisions[line["photo_id"]] = line["decision"]
    return decisions


def _fingerprint(settings: Settings, representatives: list[Row], decisions: dict[str, str]) -> str:
    return fingerprint(
        {
            "photographs": [[row[name] for name in METADATA] for row in representatives],
            "decisions": decisions,
            "settings": settings.curation.model_dump(),
            "measures": MEASURE_VERSION,
            "code": CODE_VERSION,
        }
    )


def _current(home: Home, wanted: str) -> Result | None:
    recorded = Result.read(_record(home))
    return recorded if recorded and recorded.fingerprint == wanted and _table(home).exists() else None


def _table(home: Home) -> Path:
    return home.manifests / "curated_photos" / "all.parquet"


def _record(home: Home) -> Path:
    return home.manifests / "curated_photos" / "all.json"
