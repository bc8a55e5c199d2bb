"""Curation: which photographs may be learned from, and why the others may not.

Belongs here: measuring every copy, how a cluster of copies comes to one answer, a person's decisions, and the asset's
table ``manifests/curated_photos/all.parquet``. What speaks against a copy (``rules``, ``tone``, ``drawings``) and
against what is shown (``topic``) does not, nor what becomes of the kept photographs (``pairs``).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kwcolor_pipeline.home import Home, Result, atomic_path, fingerprint
from kwcolor_pipeline.photos.borders import BORDERS_VERSION, Box, open_upright, trim_box
from kwcolor_pipeline.photos.decisions import KEEP, REJECT, decisions_path, read_decisions
from kwcolor_pipeline.photos.doubts import Doubts
from kwcolor_pipeline.photos.drawings import measure_drawing
from kwcolor_pipeline.photos.large import alone_if_large, pixels_of
from kwcolor_pipeline.photos.measured import Progress, Row, measure_once
from kwcolor_pipeline.photos.near_duplicates import inherited, read_deduplicated
from kwcolor_pipeline.photos.rules import UNREADABLE, Verdict, is_coloured, judge
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.photos.tone import measure_tone
from kwcolor_pipeline.photos.topic import ENOUGH_TO_COMPARE, likeness
from kwcolor_pipeline.settings import CurationSettings, Settings

#: Raise it when the same inputs and settings would give another result.
CODE_VERSION = "2"
#: Raise it when the same picture would measure differently.
MEASURE_VERSION = f"2 borders={BORDERS_VERSION} pillow={PIL.__version__}"

#: What is measured of a copy; pixels are of the upright picture, the rest is told by :func:`measure`.
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
        ("plain_share", pa.float32()),
        ("few_colours", pa.float32()),
        ("bar", pa.float32()),
        ("transparent_share", pa.float32()),
    ]
)

#: Columns of the copy that stands for its cluster.
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
        ("copies", pa.int32()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("decided_by", pa.string()),
        ("review", pa.string()),
        ("number", pa.float32()),
        ("threshold", pa.float32()),
        *MEASURES,
        ("error", pa.string()),
    ]
)

# What of a copy has a say in the result beside what is measured.
_JUDGED = (*METADATA, "rank", "year_taken_last", "catalogued_tone")
# Measures are of a copy with at most this side; more would hardly change them.
_MEASURED_SIDE = 256
# A year's share of refused photographs is told as unusual where chance makes it so in one of thousands …
_UNUSUAL_DEVIATIONS = 4.0
# … and where it matters.
_UNUSUAL_DIFFERENCE = 0.1


@dataclass(frozen=True)
class Curated:
    """The asset: its record, its table (columns: ``SCHEMA``), and whether it was there already."""

    result: Result
    table: Path
    reused: bool


def curate(settings: Settings, progress: Progress | None = None) -> Curated:
    """Keep or reject every photograph of `deduplicated_photos`; every rejection has a reason.

    One row for each cluster: its best copy that passes the rules, which takes over what it lacks from the others;
    where none passes, the best copy with its reason. Reasons of a copy: `unreadable`, `title_says_colorized`,
    `too_small`, `not_colour`, `toned`, `not_a_photograph`, `screenshot_or_logo`, `drawing_or_map`,
    `document_or_title_card` and `collage`. Of a photograph whose copies contradict each other or which may be of
    something else, `perhaps_colorized` and `off_topic`: it is not kept until a person decides, and ``review`` says
    why, as it does of photographs that a bound hardly tells apart. What people decided (`turned_down`) wins over the
    rules, except that unreadable stays unreadable. Raises SettingsProblem where their file cannot be used.
    """
    home = settings.paths
    copies = read_deduplicated(home)
    decisions = read_decisions(decisions_path(settings))
    wanted = _fingerprint(settings, copies, decisions)
    recorded = _current(home, wanted)
    if recorded:
        return Curated(recorded, _table(home), reused=True)
    store = PhotoStore(home.photos)
    measures, newly_measured = measure_once(
        home.manifests / "curated_photos" / "measures.parquet",
        MEASURE_VERSION,
        [copy["photo_id"] for copy in copies],
        lambda photo_id: _measures_of(store.find(photo_id)),
        MEASURES,
        progress,
    )
    rows = _answers(copies, measures, decisions, settings.curation)
    _mark_the_unlike(home, rows, settings.curation)
    kept = [row for row in rows if row["kept"]]
    rejected = Counter(row["reason"] for row in rows if not row["kept"])
    summary = {
        "photographs": len(rows),
        "kept": len(kept),
        "rejected": dict(sorted(rejected.items())),
        "to_review": sum(row["review"] is not None for row in rows),
        "decided_by_people": sum(row["decided_by"] == "person" for row in rows),
        "newly_measured": newly_measured,
    }
    learned_from = [[row[key] for key in (*METADATA, "left", "top", "right", "bottom")] for row in kept]
    with atomic_path(_table(home)) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    result = Result(wanted, fingerprint(learned_from), summary)
    result.write(_record(home))
    return Curated(result, _table(home), reused=False)


def curate_is_current(settings: Settings) -> bool:
    """Whether :func:`curate` would return the recorded result."""
    home = settings.paths
    decisions = read_decisions(decisions_path(settings))
    return _current(home, _fingerprint(settings, read_deduplicated(home), decisions)) is not None


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
    return is_coloured(measure_tone(_small(image, (0, 0, *image.size))), wanted or CurationSettings())


def measure(image: Image.Image, box: Box | None = None) -> dict[str, float]:
    """What tells a colour photograph from other pictures, of the part of ``image`` inside ``box``.

    See :func:`kwcolor_pipeline.photos.tone.measure_tone` and
    :func:`kwcolor_pipeline.photos.drawings.measure_drawing`.
    """
    small = _small(image, box or (0, 0, *image.size))
    return {**measure_tone(small), **measure_drawing(small)}


def unusual_partitions(rows: Sequence[Row]) -> list[str]:
    """A sentence for each partition in which far more or fewer photographs were refused than in all together."""
    refused = sum(not row["kept"] for row in rows)
    share = refused / max(len(rows), 1)
    sentences = []
    for partition, members in sorted(_grouped(rows, "partition").items()):
        here = sum(not row["kept"] for row in members) / len(members)
        chance = (share * (1 - share) / len(members)) ** 0.5
        if abs(here - share) > max(_UNUSUAL_DEVIATIONS * chance, _UNUSUAL_DIFFERENCE):
            sentences.append(
                f"{partition}: {here:.0%} of {len(members)} photographs were refused, {share:.0%} of all; "
                "look at its source and its pictures."
            )
    return sentences


def _small(image: Image.Image, box: Box) -> Image.Image:
    """The part of ``image`` inside ``box``, in colour, at most ``_MEASURED_SIDE`` pixels a side."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = max(1.0, max(width, height) / _MEASURED_SIDE)
    size = max(1, round(width / scale)), max(1, round(height / scale))
    image = image if image.mode == "RGB" else image.convert("RGB")
    return image.resize(size, Image.Resampling.BOX, box=box, reducing_gap=2.0)


def _measures_of(path: Path) -> Row:
    with alone_if_large(pixels_of(path)):
        transparent_share = _transparent_share(path)
        image = open_upright(path)
        box = trim_box(image)
        return {
            "picture_width": image.width,
            "picture_height": image.height,
            **dict(zip(("left", "top", "right", "bottom"), box, strict=True)),
            **measure(image, box),
            "transparent_share": transparent_share,
        }


def _transparent_share(path: Path) -> float:
    with Image.open(path) as opened:
        if not opened.has_transparency_data:
            return 0.0
        counts = opened.convert("RGBA").getchannel("A").histogram()
    return sum(counts[:128]) / sum(counts)


def _answers(
    copies: Sequence[Row], measures: Mapping[str, Row], decisions: Mapping[str, str], wanted: CurationSettings
) -> list[Row]:
    """The asset's rows without what the photographs' likeness says, ordered by photo_id."""
    judged = judge(copies, measures, wanted)
    verdicts = {copy["photo_id"]: verdict for copy, verdict in zip(copies, judged, strict=True)}
    doubts = Doubts(wanted)
    rows = []
    for cluster in _grouped(copies, "cluster_id").values():
        cluster.sort(key=lambda copy: int(copy["rank"]))
        shown, verdict, decided_by = _answer(cluster, verdicts, decisions, doubts)
        about = {
            "copies": len(cluster),
            "kept": verdict.reason is None,
            "reason": verdict.reason,
            "decided_by": decided_by,
            "review": verdict.review,
            "number": verdict.number,
            "threshold": verdict.threshold,
        }
        rows.append({**{name: shown[name] for name in METADATA}, **about, **measures[shown["photo_id"]]})
    return sorted(rows, key=lambda row: str(row["photo_id"]))


def _answer(
    cluster: Sequence[Row], verdicts: Mapping[str, Verdict], decisions: Mapping[str, str], doubts: Doubts
) -> tuple[Row, Verdict, str]:
    """The copy that stands for a cluster (best copy first), what is said of it, and who says so: rule or person."""
    said = {decisions.get(copy["photo_id"]) for copy in cluster}
    is_turned_down = REJECT in said and KEEP not in said
    # Where people keep one copy, turning down another is about that copy only.
    left = [copy for copy in cluster if is_turned_down or decisions.get(copy["photo_id"]) != REJECT]
    passing = next((copy for copy in left if verdicts[copy["photo_id"]].reason is None), None)
    shown = _with_what_others_say(passing or left[0], cluster)
    verdict = verdicts[shown["photo_id"]]
    if is_turned_down:
        unreadable = verdict.reason == UNREADABLE
        return shown, *((verdict, "rule") if unreadable else (Verdict("turned_down"), "person"))
    doubt = doubts.about(shown, cluster, verdicts) if passing else None
    for copy in left if KEEP in said else ():
        if decisions.get(copy["photo_id"]) == KEEP and verdicts[copy["photo_id"]].reason != UNREADABLE:
            return _with_what_others_say(copy, cluster), Verdict(None), "person"
        if copy is passing and doubt is None:
            break
    return shown, doubt or verdict, "rule"


def _with_what_others_say(copy: Row, cluster: Sequence[Row]) -> Row:
    return inherited(copy, [other for other in cluster if other is not copy]) if len(cluster) > 1 else copy


def _mark_the_unlike(home: Home, rows: Sequence[Row], wanted: CurationSettings) -> None:
    """Ask people to look at those of ``rows`` that are kept and yet like no other of them."""
    if not _embeddings(home).exists():
        return
    from kwcolor_pipeline.photos.second_look import read_embeddings

    photo_ids, vectors = read_embeddings(home)
    place_of = {photo_id: place for place, photo_id in enumerate(photo_ids)}
    kept = [row for row in rows if row["kept"] and row["photo_id"] in place_of]
    if len(kept) < ENOUGH_TO_COMPARE:
        return
    found = likeness(vectors[[place_of[row["photo_id"]] for row in kept]])
    for row, value in zip(kept, found.tolist(), strict=True):
        if value < wanted.min_likeness and row["review"] is None and row["decided_by"] == "rule":
            row |= {"review": "Like none of the others", "number": value, "threshold": wanted.min_likeness}


def _grouped(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[name]].append(row)
    return groups


def _fingerprint(settings: Settings, copies: Sequence[Row], decisions: Mapping[str, str]) -> str:
    return fingerprint(
        {
            "copies": [[copy.get(name) for name in _JUDGED] for copy in copies],
            "decisions": dict(decisions),
            "settings": settings.curation.model_dump(),
            "measures": MEASURE_VERSION,
            "embeddings": _embeddings_version(settings.paths),
            "code": CODE_VERSION,
        }
    )


def _embeddings_version(home: Home) -> list[str]:
    """What the embeddings depend on beside the photographs: how many there are, and the version that made them."""
    if not _embeddings(home).exists():
        return []
    about = pq.read_metadata(_embeddings(home))
    return [str(about.num_rows), *(f"{key!r}: {value!r}" for key, value in sorted((about.metadata or {}).items()))]


def _current(home: Home, wanted: str) -> Result | None:
    recorded = Result.read(_record(home))
    return recorded if recorded and recorded.fingerprint == wanted and _table(home).exists() else None


def _table(home: Home) -> Path:
    return home.manifests / "curated_photos" / "all.parquet"


def _record(home: Home) -> Path:
    return home.manifests / "curated_photos" / "all.json"


def _embeddings(home: Home) -> Path:
    return home.manifests / "deduplicated_photos" / "embeddings.parquet"
