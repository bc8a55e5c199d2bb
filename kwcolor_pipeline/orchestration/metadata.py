"""Metadata that people want to see on an asset: counts, tables, thumbnails, curves.

Everything here is small, whatever it is given: Dagster's UI loads all of it with every event.
https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

import base64
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import dagster as dg
from PIL import Image, UnidentifiedImageError

from kwcolor_pipeline.photos.borders import open_trimmed
from kwcolor_pipeline.photos.sheets import MAX_BYTES, chosen, contact_sheet
from kwcolor_pipeline.photos.store import PhotoStore

#: On a materialization of the pairs: share of those that train which differ from what the model was trained on.
CHANGED_SHARE = "changed_since_training"
#: On the definition of an asset: the share from which on automation trains again.
MIN_CHANGE = "trains_by_itself_from"

_THUMBNAILS = 24
# Of a kind, what one event holds at most: sentences, lines of a table, points of a curve, characters.
_SENTENCES, _LINES, _POINTS = 20, 50, 300
_LONG_SENTENCE, _LONG_CELL, _LONG_PAGE = 500, 100, 60_000


def shortened(text: str, longest: int = _LONG_SENTENCE) -> str:
    """The text, its middle left out where it has more than ``longest`` characters: a remedy stands at the end."""
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2].rstrip()} … {text[-(longest // 2) :].lstrip()}"


def some_of(sentences: Collection[str]) -> list[str]:
    """The first of ``sentences``, none of them long, and a last one that says how many more there are."""
    shown = [shortened(sentence) for _, sentence in zip(range(_SENTENCES), sentences, strict=False)]
    more = len(sentences) - len(shown)
    return [*shown, f"… and {more} more."] if more else shown


def most_frequent(counts: Mapping[str, int], others: str = "others") -> dict[str, int]:
    """The largest of ``counts``, largest first, and the sum of all the others."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, left = (rows, []) if len(rows) <= _LINES else (rows[: _LINES - 1], rows[_LINES - 1 :])
    largest = {shortened(name, _LONG_CELL): count for name, count in shown}
    return largest | ({f"{len(left)} {others}": sum(count for _, count in left)} if left else {})


def page(markdown: str) -> dg.MetadataValue:
    """A Markdown text, cut off after a line where it is long."""
    if len(markdown) <= _LONG_PAGE:
        return dg.MetadataValue.md(markdown)
    return dg.MetadataValue.md(f"{markdown[:_LONG_PAGE].rpartition(chr(10))[0]}\n\n… The rest is in the file.")


def picture(webp: bytes, text: str) -> dg.MetadataValue:
    """A small WebP picture, shown in the UI."""
    return dg.MetadataValue.md(f"![{text}](data:image/webp;base64,{base64.b64encode(webp).decode()})")


def thumbnail_sheet(store: PhotoStore, photo_ids: Sequence[str]) -> dict[str, dg.MetadataValue]:
    """A contact sheet of some of the photographs; nothing where there are none."""
    thumbnails: list[Image.Image] = []
    for photo_id in chosen(photo_ids, _THUMBNAILS):
        try:
            thumbnails.append(open_trimmed(store.find(photo_id)))
        except (OSError, UnidentifiedImageError):
            continue  # a sheet is for looking; what cannot be read is reported by the asset itself
    if not thumbnails:
        return {}
    return {"thumbnails": picture(contact_sheet(thumbnails, columns=6, cell=96), "some of the photographs")}


def count_table(counts: Mapping[str, int], first: str, second: str = "photographs") -> dg.MetadataValue:
    """A two-column table, largest count first."""
    rows = most_frequent(counts).items()
    lines = [f"| {first} | {second} |", "|---|---:|", *(f"| {name} | {count} |" for name, count in rows)]
    return dg.MetadataValue.md("\n".join(lines))


def table(rows: Sequence[Mapping[str, object]]) -> dg.MetadataValue:
    """A Markdown table with one line per mapping, of the first ones; numbers get four figures."""
    if not rows:
        return dg.MetadataValue.text("nothing yet")
    names = list(rows[0])

    def cell(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) else shortened(str(value), _LONG_CELL)

    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row.get(name, "")) for name in names) + " |" for row in rows[:_LINES]]
    lines += [f"\n… and {len(rows) - _LINES} more."] if len(rows) > _LINES else []
    return dg.MetadataValue.md("\n".join(lines))


def curve(history: Sequence[Mapping[str, float]], names: Sequence[str]) -> dg.MetadataValue:
    """Curves over the epochs as a small SVG, each scaled to its own range; first and last value in the legend."""
    colours = ["#2563eb", "#d97706", "#059669"]
    width, height = 420, 130
    lines, legend = [], []
    for number, name in enumerate(names):
        values = [record[name] for record in history if name in record]
        if not values:
            continue
        low, span = min(values), (max(values) - min(values)) or 1.0
        across = (width - 20) / max(len(values) - 1, 1)
        places = [
            (10 + index * across, 10 + (height - 20) * (1 - (values[index] - low) / span))
            for index in _thinned(len(values))
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append(f'<polyline fill="none" stroke="{colours[number % 3]}" stroke-width="2" points="{points}"/>')
        # The dot makes a training of one epoch visible.
        lines.append(f'<circle cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="4" fill="{colours[number % 3]}"/>')
        label = f"{name}: {values[0]:.3g} → {values[-1]:.3g}"
        legend.append(f'<text x="10" y="{height + 14 + 14 * number}" fill="{colours[number % 3]}">{label}</text>')
    body = "".join([*lines, *legend])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 16 + 14 * len(names)}" '
        f'font-family="sans-serif" font-size="12"><rect width="{width}" height="{height}" fill="#f4f4f5"/>{body}</svg>'
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![curves](data:image/svg+xml;base64,{encoded})")


def _thinned(count: int) -> Iterable[int]:
    """Positions of some of ``count`` values at even distances, the first and the last of them among these."""
    return [count - 1 - back for back in range(0, count, math.ceil(count / _POINTS))][::-1]


def file_picture(path: Path, text: str) -> dict[str, dg.MetadataValue]:
    """The picture in a small file, under the file's stem; nothing where there is no such file, or a large one."""
    is_small = path.is_file() and path.stat().st_size <= MAX_BYTES
    return {path.stem: picture(path.read_bytes(), text)} if is_small else {}
