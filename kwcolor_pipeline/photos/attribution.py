"""Credits: who made the stored photographs, under which licence, as files that can be published.

Belongs here: ``ATTRIBUTION.csv``, the Croissant description beside it, and the credit line of a
photograph. Where licences are read from and judged is the crawl's affair.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwcolor_pipeline.home import Home, write_bytes, write_json
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, read_manifest
from kwcolor_pipeline.settings import SettingsProblem

CSV_NAME = "ATTRIBUTION.csv"
CROISSANT_NAME = "croissant.json"

#: Assets whose manifests list photographs.
CRAWLS = ("crawled_photos", "korean_war_photos")

#: Columns of the CSV file: Croissant data type and meaning.
COLUMNS = {
    "photo_id": ("sc:Text", "sha256 of the picture file's bytes, hexadecimal"),
    "title": ("sc:Text", "Title as the source writes it"),
    "creator": ("sc:Text", "Photographer or agency as the source writes it"),
    "licence": ("sc:Text", "Licence or rights statement as the source writes it"),
    "licence_url": ("sc:URL", "Address of the licence's text"),
    "source": ("sc:Text", "Short name of the archive or folder that the picture came from"),
    "source_id": ("sc:Text", "The source's own identifier of the photograph"),
    "landing_url": ("sc:URL", "Page for people about the photograph"),
    "file_url": ("sc:URL", "Where the picture's bytes came from; empty for files of the machine that crawled"),
    "date_text": ("sc:Text", "Date as the source writes it"),
    "year": ("sc:Integer", "Year of exposure, of a range its first one; where it is not known, of publication"),
    "retrieved_at": ("sc:DateTime", "When the picture was stored, UTC"),
    "credit": ("sc:Text", "Ready credit line: title, author, source, licence"),
}

# What spreadsheets take for the beginning of a formula, or skip before one.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

# Appendix 1 of https://docs.mlcommons.org/croissant/docs/croissant-spec.html
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        term: f"cr:{term}"
        for term in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
}


@dataclass(frozen=True)
class Attribution:
    """The two files, and how many photographs they credit."""

    table: Path
    croissant: Path
    photographs: int


def attribution_folder(home: Home) -> Path:
    """Where the files lie unless somebody wants them elsewhere."""
    return home.reports / "attribution"


def write_attribution(home: Home, folder: Path) -> Attribution:
    """Write ``ATTRIBUTION.csv`` and ``croissant.json`` about every stored photograph into ``folder``.

    The same photographs give the same bytes. Raises SettingsProblem where nothing is stored.
    """
    rows = stored_photographs(home)
    if not rows:
        raise SettingsProblem("There is no stored photograph to credit yet; run `kwcolor run` first.")
    table = _csv(rows)
    write_bytes(folder / CSV_NAME, table)
    write_json(folder / CROISSANT_NAME, _croissant(rows, table))
    return Attribution(folder / CSV_NAME, folder / CROISSANT_NAME, len(rows))


def crawl_manifests(home: Home) -> Iterator[Path]:
    """The manifests of both crawls, year by year."""
    for asset in CRAWLS:
        yield from sorted((home.manifests / asset).glob("*.parquet"))


def stored_photographs(home: Home) -> list[ManifestRow]:
    """Every stored photograph once, ordered by its id.

    A picture that several sources have is credited as the one that says most about it has it: fields
    of several sources in one line would claim what none of them says.
    """
    found: dict[str, list[ManifestRow]] = defaultdict(list)
    for path in crawl_manifests(home):
        for row in read_manifest(path):
            if row.status == Status.STORED and row.photo_id:
                found[row.photo_id].append(row)
    return [min(found[photo_id], key=_least_said) for photo_id in sorted(found)]


def credit_line(row: ManifestRow) -> str:
    """Title, author, source and licence in one line, as Creative Commons asks for them.

    https://wiki.creativecommons.org/wiki/Recommended_practices_for_attribution
    """
    title = " ".join((row.title or "").split()) or "Untitled photograph"
    work = f"“{title}”" + (f" by {row.creator}" if row.creator else "")
    source = row.landing_url or _public(row.file_url) or f"{row.source} {row.source_id}"
    licence = (row.licence or "licence not stated") + (f" ({row.licence_url})" if row.licence_url else "")
    return " ".join(f"{work}, {source}, {licence}".split())


def _least_said(row: ManifestRow) -> tuple[int, str, str]:
    said = (row.creator, row.licence, row.licence_url, row.title, row.landing_url)
    return -sum(value is not None for value in said), row.source, row.source_id


def _public(file_url: str) -> str | None:
    """The address where it is one of the web: a path of this machine is nobody else's affair."""
    return file_url if file_url.startswith(("http://", "https://")) else None


def _values(row: ManifestRow) -> dict[str, str]:
    """A photograph's line, by column."""
    told = row.model_dump(include=COLUMNS.keys() - {"file_url", "year", "retrieved_at", "credit"})
    year = row.year_taken if row.year_taken is not None else row.year_published
    told |= {"file_url": _public(row.file_url), "year": year}
    told |= {"retrieved_at": row.retrieved_at.isoformat(), "credit": credit_line(row)}
    return {name: "" if told[name] is None else str(told[name]) for name in COLUMNS}


def _inert(value: str) -> str:
    """``value`` such that no spreadsheet runs it: titles come from the network, and a cell that begins like a
    formula is one, also in a CSV file. The apostrophe makes it text."""
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


def _csv(rows: list[ManifestRow]) -> bytes:
    """RFC 4180, UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _inert(value) for name, value in _values(row).items()})
    return text.getvalue().encode()


def _croissant(rows: list[ManifestRow], table: bytes) -> dict[str, Any]:
    """The description of the CSV file in Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html)."""
    newest = max(row.retrieved_at for row in rows)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "kwcolor_photographs",
        "description": (
            f"Where {len(rows)} photographs that kwcolor_pipeline collected come from: title, author, source, licence "
            "and sha256 of each. The pictures themselves are at their sources."
        ),
        "license": sorted({row.licence_url or row.licence or "licence not stated" for row in rows}),
        # Relative to this file: whoever publishes it knows the address, this program does not.
        "url": CSV_NAME,
        "creator": {"@type": "sc:Organization", "name": "kwcolor_pipeline"},
        "datePublished": newest.date().isoformat(),
        "version": f"{newest.year}.{newest.month}.{newest.day}",
        "keywords": ["photographs", "attribution", "licences"],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": CSV_NAME,
                "name": CSV_NAME,
                "description": "One line for each photograph.",
                "contentUrl": CSV_NAME,
                "contentSize": f"{len(table)} B",
                "encodingFormat": "text/csv",
                "sha256": hashlib.sha256(table).hexdigest(),
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "photographs",
                "name": "photographs",
                "description": (
                    "The stored photographs. An apostrophe stands before a value that a spreadsheet would take for a "
                    "formula."
                ),
                "key": {"@id": "photographs/photo_id"},
                "field": [_field(name, *about) for name, about in COLUMNS.items()],
            }
        ],
    }


def _field(name: str, data_type: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"photographs/{name}",
        "name": name,
        "description": description,
        "dataType": data_type,
        "source": {"fileObject": {"@id": CSV_NAME}, "extract": {"column": name}},
    }
