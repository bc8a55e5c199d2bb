"""The model card that is written with every bundle."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kwcolor_pipeline.home import Home, write_bytes
from kwcolor_pipeline.photos.manifest import UNDATED
from kwcolor_pipeline.photos.pairs import read_index

#: What a bundle of each kind cannot do; ``{size}`` is the side of a training crop.
_LIMITS = {
    "generator": """\
The colours are inferred: plausible, not recorded. Uniforms, insignia, skin and painted surfaces can be wrong.
Mark every picture that is shown as colorized, and do not use it as evidence of a colour.

What the photographs above do not show (other places, times, films) is coloured worst, and rare colours come out
duller than they were. It learned on crops of {size} by {size} pixels, and colours are coarser than the lightness:
small things take on the colour of what is around them.
""",
    "critic": """\
It tells this generator's colours from those of photographs like the ones above, on crops of {size} by {size}
pixels. It is a part of the training and no detector: its verdict on other pictures means nothing.
""",
}


def write_model_card(folder: Path, description: dict[str, Any], home: Home) -> None:
    """Write `README.md` into ``folder``: what it is, what it learned from and how, how it measured, its limits."""
    rows = [row for row in read_index(home) if row["split"] == "train"]
    kind, preset = description["kind"], description["preset"]
    card = f"""# {description["stage"]}

A {kind} of kwcolor_pipeline, preset `{preset["name"]}`.
Weights sha256 (over names and values): `{description["weights_sha256"]}`.

## Architecture

{_table(("part", "value"), description["architecture"])}

## Learned from

{_sources(rows)}
Data version of the pairs: `{description["asked"]["pairs"]}`.

{_table(("licence", "photographs"), dict(Counter(row["licence"] or "not stated" for row in rows).most_common()))}

Who made them and where they are published is in the index of the pairs, `pairs/index.parquet`. An encoder that
began with ImageNet weights learned from ImageNet's photographs too.{_began_as(preset)}

## Preset

{_table(("field", "value"), preset)}

## Validation, epoch {description["best_epoch"]}

On photographs that it did not learn from, which chose the epoch.

{_table(("measure", "value"), description["validation"])}

## Limits

{_LIMITS[kind].format(size=preset["size"])}"""
    write_bytes(folder / "README.md", card.encode())


def _began_as(preset: Mapping[str, Any]) -> str:
    """What a generator learned from before, in a sentence; empty where it began with its encoder alone."""
    start = preset.get("pretrain_start", "none")
    if start == "none":
        return ""
    if start == "starter":
        return (
            "\nThe generator began as the package's starter and learned from its photographs too, most of them for "
            "research use: see `kwcolor_pipeline/starter/README.md`."
        )
    return f"\nThe generator began as the bundle `{start}`, and learned from its photographs too."


def _sources(rows: list[dict[str, Any]]) -> str:
    """How many photographs, from where and from which years."""
    sources = Counter(row["source"] for row in rows)
    years = sorted(row["partition"] for row in rows if row["partition"] != UNDATED)
    undated = len(rows) - len(years)
    when = f" of {years[0]} to {years[-1]}" if years else ""
    without = f", {undated} of them undated" if undated else ""
    found = ", ".join(f"{name} ({count})" for name, count in sources.most_common())
    return f"{len(rows)} photographs{when}{without}, from {found}."


def _table(names: tuple[str, str], entries: Mapping[str, Any]) -> str:
    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")

    lines = [f"| {names[0]} | {names[1]} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {cell(name)} | {cell(value)} |" for name, value in entries.items())])
