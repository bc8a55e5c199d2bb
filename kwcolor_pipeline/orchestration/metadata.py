"""Metadata that people want to see on an asset: counts, tables, columns, thumbnails, curves, bars.

Everything here is small, whatever it is given: Dagster's UI loads all of it with every event. Of numbers it draws
graphs itself, over the years or over time, so what should be followed is a number of its own and not only in a table.
https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

import base64
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import dagster as dg
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from kwcolor_pipeline.photos.borders import open_trimmed
from kwcolor_pipeline.photos.manifest import ManifestRow
from kwcolor_pipeline.photos.sheets import MAX_BYTES, chosen, contact_sheet
from kwcolor_pipeline.photos.store import PhotoStore

#: On a materialization of the pairs: share of those that train which differ from what the model was trained on.
CHANGED_SHARE = "changed_since_training"
#: On the definition of an asset: the share from which on automation trains again.
MIN_CHANGE = "trains_by_itself_from"

_THUMBNAILS = 24
_COLOURS = ("#2563eb", "#d97706", "#059669")
# Of a kind, what one event holds at most: sentences, lines of a table, points of a curve, bars, characters.
_SENTENCES, _LINES, _POINTS, _BARS = 20, 50, 300, 100
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
    if not counts:
        return dg.MetadataValue.text("none")
    rows = most_frequent(counts).items()
    lines = [f"| {first} | {second} |", "|---|---:|", *(f"| {name} | {count} |" for name, count in rows)]
    return dg.MetadataValue.md("\n".join(lines))


def table(rows: Sequence[Mapping[str, object]]) -> dg.MetadataValue:
    """A Markdown table with one line per mapping, of the first ones; numbers get four figures."""
    if not rows:
        return dg.MetadataValue.text("none")
    names = list(rows[0])

    def cell(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) else shortened(str(value), _LONG_CELL)

    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row.get(name, "")) for name in names) + " |" for row in rows[:_LINES]]
    lines += [f"\n… and {len(rows) - _LINES} more."] if len(rows) > _LINES else []
    return dg.MetadataValue.md("\n".join(lines))


def columns(schema: pa.Schema) -> dict[str, dg.TableSchema]:
    """The columns of an asset's table for the UI, with what the manifest says of them."""
    about = {name: field.description for name, field in ManifestRow.model_fields.items()}
    fields = [dg.TableColumn(field.name, str(field.type), about.get(field.name)) for field in schema]
    return {"dagster/column_schema": dg.TableSchema(fields)}


def curve(history: Sequence[Mapping[str, float]], names: Sequence[str], text: str = "curves") -> dg.MetadataValue:
    """Curves over the epochs as a small SVG, each scaled to its own range; first and last value in the legend."""
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
        colour = _COLOURS[number % len(_COLOURS)]
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        # The dot makes a training of one epoch visible.
        lines.append(f'<circle cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="4" fill="{colour}"/>')
        label = f"{name}: {values[0]:.3g} → {values[-1]:.3g}"
        legend.append(f'<text x="10" y="{height + 14 + 14 * number}" fill="{colour}">{label}</text>')
    ground = f'<rect width="{width}" height="{height}" fill="#f4f4f5"/>'
    return _drawing(width, height + 16 + 14 * len(names), "".join([ground, *lines, *legend]), text)


def bars(counts: Mapping[str, Mapping[str, int]], text: str) -> dg.MetadataValue:
    """A bar for each name, of the last ones, as a small SVG: stacked from its parts, with their sum above it."""
    counts = dict(list(counts.items())[-_BARS:])
    parts = list(dict.fromkeys(part for stack in counts.values() for part in stack))
    colour_of = {part: _COLOURS[number % len(_COLOURS)] for number, part in enumerate(parts)}
    highest = max((sum(stack.values()) for stack in counts.values()), default=0) or 1
    step, top, height = 16, 45, 120
    foot = top + height
    width = max(200, 10 + step * len(counts))
    body = [f'<rect y="{foot}" width="{width}" height="1" fill="#71717a"/>']
    for place, (name, stack) in enumerate(counts.items()):
        left, level = 6 + step * place, float(foot)
        for part, count in stack.items():
            if not count:
                continue
            tall = height * count / highest
            level -= tall
            body.append(f'<rect x="{left}" y="{level:.1f}" width="12" height="{tall:.1f}" fill="{colour_of[part]}"/>')
        # Turned, so that a year's number and a large count need no more width than the bar.
        for anchor, at, word in (("end", foot + 5, name), ("start", level - 4, str(sum(stack.values())))):
            turned = f'transform="translate({left + 10},{at:.1f}) rotate(-90)" text-anchor="{anchor}"'
            body.append(f'<text {turned} fill="#3f3f46">{word}</text>')
    for number, part in enumerate(parts):
        body.append(f'<text x="{6 + 90 * number}" y="{foot + 76}" fill="{colour_of[part]}">■ {part}</text>')
    return _drawing(width, foot + 82, "".join(body), text)


def _drawing(width: int, height: int, body: str, text: str) -> dg.MetadataValue:
    """An SVG, shown in the UI."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12">{body}</svg>'
    )
    return dg.MetadataValue.md(f"![{text}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")


def _thinned(count: int) -> Iterable[int]:
    """Positions of some of ``count`` values at even distances, the first and the last of them among these."""
    return [count - 1 - back for back in range(0, count, math.ceil(count / _POINTS))][::-1]


def file_picture(path: Path, text: str) -> dict[str, dg.MetadataValue]:
    """The picture in a small file, under the file's stem; nothing where there is no such file, or a large one."""
    is_small = path.is_file() and path.stat().st_size <= MAX_BYTES
    return {path.stem: picture(path.read_bytes(), text)} if is_small else {}
