"""The model card that is written with every bundle."""

from collections import Counter
from pathlib import Path
from typing import Any

from kwcolor_pipeline.home import Home, write_bytes
from kwcolor_pipeline.photos.pairs import read_index


def write_model_card(folder: Path, description: dict[str, Any], home: Home) -> None:
    """Write `README.md` into ``folder``: what it is, what it learned from, how it measured, what it cannot do."""
    rows = [row for row in read_index(home) if row["split"] == "train"]
    licences = Counter(row["licence"] or "not stated" for row in rows)
    sources = Counter(row["source"] for row in rows)
    architecture = "\n".join(f"- {key}: `{value}`" for key, value in description["architecture"].items())
    validation = "\n".join(f"| {key} | {value:.4g} |" for key, value in description["validation"].items())
    licence_rows = "\n".join(f"| {licence} | {count} |" for licence, count in licences.most_common())
    card = f"""# {description["stage"]}

A {description["kind"]} of kwcolor_pipeline, preset `{description["preset"]["name"]}`.
Weights sha256 (over names and values): `{description["weights_sha256"]}`.

## Architecture

{architecture}

## Learned from

{len(rows)} photographs of {", ".join(f"{source} ({count})" for source, count in sources.most_common())}.

| licence | photographs |
|---|---|
{licence_rows}

## Validation, epoch {description["best_epoch"]}

| measure | value |
|---|---|
{validation}

## Limits

The colours are inferred: plausible, not recorded. Uniforms, insignia, skin and painted surfaces can be wrong.
Mark every picture that is shown as colorized, and do not use it as evidence of a colour.
"""
    write_bytes(folder / "README.md", card.encode())
