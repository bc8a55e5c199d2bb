"""The manifest: one row for every photograph seen, stored or not, with the reason.

Belongs here: the columns, reading and writing them as Parquet, and which year partition a
photograph belongs to. How the rows come about is the crawl's affair.
"""

import datetime
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from kwcolor_pipeline.home import atomic_path, fingerprint

#: The partition of photographs without a usable year.
UNDATED = "undated"
#: Years of the war and around it, when the archives' photographs were taken.
FIRST_YEARS = range(1935, 1956)
#: First year that web search can filter pages by.
FIRST_WEB_YEAR = 2005
#: The target domain's years.
KOREAN_WAR_YEARS = range(1950, 1954)


class Status(StrEnum):
    """What became of a photograph that was seen."""

    STORED = "stored"
    REJECTED = "rejected"
    FAILED = "failed"


class ManifestRow(BaseModel):
    """One photograph that a source listed."""

    photo_id: str | None = Field(None, description="sha256 of the file's bytes; empty unless they were fetched")
    source: str = Field(description="Name of the source: sample, folder, loc, …")
    source_id: str = Field(description="The source's own identifier")
    file_url: str = Field(description="Where the picture's bytes come from")
    landing_url: str | None = Field(None, description="Page for people about this photograph")
    title: str | None = Field(None, description="What the source calls it")
    creator: str | None = Field(None, description="Who made it, as the source says")
    licence: str | None = Field(None, description="The licence, or that there is none needed, as the source says")
    licence_url: str | None = Field(None, description="The licence's text")
    date_text: str | None = Field(None, description="The date as the source writes it")
    year_taken: int | None = Field(None, description="Year of exposure; of a range, its first year")
    year_taken_last: int | None = Field(None, description="Last year that the date may mean")
    date_precision: str | None = Field(None, description="day, month, year, range, decade or century; uncertain")
    catalogued_tone: str | None = Field(
        None, description="What the archive says the original is: colour or bw; empty where it does not say"
    )
    year_published: int | None = Field(None, description="Year in which a page or package published it")
    retrieved_at: datetime.datetime = Field(description="When this row's outcome was reached, UTC")
    checked_at: datetime.datetime | None = Field(None, description="When the archive last confirmed it, UTC")
    width: int | None = Field(None, description="pixels, after EXIF orientation")
    height: int | None = Field(None, description="pixels, after EXIF orientation")
    bytes: int | None = Field(None, description="Size of the file")
    mime: str | None = Field(None, description="Type of the picture, from its bytes")
    status: Status = Field(description="stored, rejected or failed")
    reason: str | None = Field(None, description="Why it was rejected or failed: a short word, then details")
    etag: str | None = Field(None, description="The file's version as its server names it; of a local file, its own")
    last_modified: str | None = Field(None, description="When the server says that the file changed")


_UTC = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("photo_id", pa.string()),
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("file_url", pa.string()),
        ("landing_url", pa.string()),
        ("title", pa.string()),
        ("creator", pa.string()),
        ("licence", pa.string()),
        ("licence_url", pa.string()),
        ("date_text", pa.string()),
        ("year_taken", pa.int32()),
        ("year_taken_last", pa.int32()),
        ("date_precision", pa.string()),
        ("catalogued_tone", pa.string()),
        ("year_published", pa.int32()),
        ("retrieved_at", _UTC),
        ("checked_at", _UTC),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("mime", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("etag", pa.string()),
        ("last_modified", pa.string()),
    ]
)


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write the rows as Parquet, atomically, ordered by source and identifier."""
    ordered = sorted(rows, key=lambda row: (row.source, row.source_id, row.file_url))
    table = pa.Table.from_pylist([row.model_dump(mode="python") for row in ordered], schema=SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_manifest(path: Path) -> list[ManifestRow]:
    """The rows of one manifest; an empty list where there is none yet."""
    if not path.exists():
        return []
    return [ManifestRow(**row) for row in pq.read_table(path).to_pylist()]


def data_version_of(rows: Iterable[ManifestRow]) -> str:
    """Hash of the stored pictures' sha256: equal content, equal version, whenever it was crawled."""
    return fingerprint(sorted({row.photo_id for row in rows if row.status == Status.STORED}))


def crawl_partitions(today: datetime.date | None = None) -> list[str]:
    """Keys of the crawled years, newest first, and `undated`.

    Static keys and not time windows: Dagster computes staleness of an unpartitioned asset after
    static partitions and not after time windows; it does so up to 100 keys.
    """
    newest = (today or datetime.date.today()).year
    years = [*range(newest, FIRST_WEB_YEAR - 1, -1), *reversed(FIRST_YEARS)]
    return [*map(str, years), UNDATED]


def korean_war_partitions() -> list[str]:
    """Keys of the target domain's years, newest first, and `undated`."""
    return [*map(str, reversed(KOREAN_WAR_YEARS)), UNDATED]


def partition_of(first: int | None, last: int | None, partitions: Sequence[str]) -> str:
    """The one partition of a photograph dated ``first`` to ``last`` (equal for a single year).

    Its year; of a range, the first year that is a partition; otherwise `undated`.
    """
    if first is None:
        return UNDATED
    wanted = (str(year) for year in range(first, min(last or first, first + 200) + 1))
    return next((key for key in wanted if key in partitions), UNDATED)
