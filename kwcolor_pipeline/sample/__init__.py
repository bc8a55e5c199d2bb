"""Sample photographs that need no network: pictures which installed packages carry.

Belongs here: ``index.csv``, reading it, and finding the files inside the packages without importing
them. The files stay where they are; what becomes of them is the crawl's affair.

A picture's ``year_published`` is the year of the package's first release that carries it, and its
``year_taken`` is only given where it is known; both may be empty.
"""

import csv
import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path


class Role(StrEnum):
    """What a sample picture is there for."""

    COLOUR = "colour"  # a colour photograph to learn from
    REFUSE = "refuse"  # a page, a logo or a drawing: curation has to refuse it
    TARGET = "target"  # a grey photograph to colorize


@dataclass(frozen=True)
class SamplePhoto:
    """One row of the index."""

    file: str
    """Package and path inside it: ``skimage:data/astronaut.png``."""
    id: str
    title: str
    creator: str | None
    licence: str
    licence_url: str | None
    landing_url: str
    year_taken: int | None
    year_published: int | None
    role: Role

    @property
    def path(self) -> Path:
        """Where the file lies.

        Raises FileNotFoundError with the remedy when its package is not installed.
        """
        package, _, inside = self.file.partition(":")
        return _folder_of(package) / inside


@functools.cache
def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the sample photographs need the package {package}; install it with pip")
    return Path(spec.origin).parent


def read_index() -> list[SamplePhoto]:
    """All sample pictures, in the order of the index."""
    text = (files("kwcolor_pipeline.sample") / "index.csv").read_text(encoding="utf-8")
    return [_photo(row) for row in csv.DictReader(text.splitlines())]


def _photo(row: Mapping[str, str]) -> SamplePhoto:
    return SamplePhoto(
        file=row["file"],
        id=row["id"],
        title=row["title"],
        creator=row["creator"] or None,
        licence=row["licence"],
        licence_url=row["licence_url"] or None,
        landing_url=row["landing_url"],
        year_taken=int(row["year_taken"]) if row["year_taken"] else None,
        year_published=int(row["year_published"]) if row["year_published"] else None,
        role=Role(row["role"]),
    )
