"""Removing photographs from this room's results: store, manifests, tables and pairs.

Belongs here: what lies below ``photos/``, ``manifests/`` and ``pairs/``. What is deleted with its record
is computed again by the next run; what such a run would keep is rewritten without the photographs.
"""

import datetime
import shutil
import tarfile
from collections.abc import Iterator, Set
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from kwcolor_pipeline.home import Home, atomic_path, write_bytes
from kwcolor_pipeline.photos.attribution import CRAWLS, crawl_manifests
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, read_manifest, write_manifest
from kwcolor_pipeline.photos.store import EXTENSIONS, PhotoStore
from kwcolor_pipeline.photos.takedown import TAKEN_DOWN, Takedowns
from kwcolor_pipeline.settings import SettingsProblem

#: Columns of the tables that name photographs.
_NAMING = ("photo_id", "cluster_id", "duplicate_of", "first", "second")
#: Tables of what was measured of photographs and of pairs of them, by asset.
_TABLES = {
    "deduplicated_photos": ("hashes", "embeddings", "comparisons"),
    "curated_photos": ("measures",),
    "evaluation_report": ("looks", "features"),
}


def erase_from_store(home: Home, photo_ids: Set[str]) -> None:
    """Delete the pictures, and what killed processes left half written of them."""
    store = PhotoStore(home.photos)
    for photo_id in photo_ids:
        for extension in EXTENSIONS.values():
            path = store.path(photo_id, extension)
            path.unlink(missing_ok=True)
            for unfinished in path.parent.glob(f".{path.name}.*"):
                unfinished.unlink()


def erase_from_tables(home: Home, photo_ids: Set[str]) -> None:
    """Forget what was measured of the photographs, and the tables of assets that name them."""
    for asset, tables in _TABLES.items():
        folder = home.manifests / asset
        for table in tables:
            try:
                _drop_rows(folder / f"{table}.parquet", photo_ids)
            except pa.ArrowInvalid:  # damaged: it would be measured anew, and may hold anything
                (folder / f"{table}.parquet").unlink()
        if _names(folder / "all.parquet", photo_ids):
            (folder / "all.json").unlink(missing_ok=True)
            (folder / "all.parquet").unlink()


def split_ledger(home: Home) -> dict[str, str]:
    """photo_id to split (train, valid or test) of every photograph that ever was in a pair.

    Raises SettingsProblem where the ledger is damaged.
    """
    path = home.pairs / "ledger.parquet"
    try:
        return {row["photo_id"]: row["split"] for row in pq.read_table(path).to_pylist()} if path.exists() else {}
    except pa.ArrowInvalid as error:
        raise SettingsProblem(
            f"{path} is damaged; put it back from a backup: it keeps test photographs apart."
        ) from error


def erase_from_pairs(home: Home, photo_ids: Set[str]) -> None:
    """Delete shards and decoded caches that hold the photographs, the index, and the ledger's memory of them.

    Raises SettingsProblem where the ledger is damaged; the rest is deleted then.
    """
    index = home.pairs / "index.parquet"
    shards = [path for path in home.pairs.glob("*/*.tar") if _holds(path, photo_ids)]
    if shards or _names(index, photo_ids):
        (home.pairs / "result.json").unlink(missing_ok=True)
        index.unlink(missing_ok=True)
    for path in shards:
        path.unlink()
    for folder in home.pairs.glob("cache/*"):
        if folder.name.startswith(".") or mentions(folder / "index.json", photo_ids):
            shutil.rmtree(folder)
    if photo_ids & split_ledger(home).keys():
        _drop_rows(home.pairs / "ledger.parquet", photo_ids)


def erase_from_manifests(home: Home, takedowns: Takedowns) -> list[Path]:
    """Turn the rows that ``takedowns`` covers into rejected ones; gives the manifests that changed.

    Their crawl's record is deleted, so that the year counts as changed. A rejected row holds no
    photo_id: the takedown list does. What a killed crawl noted is rewritten as well.
    """
    changed = []
    for path in crawl_manifests(home):
        rows = read_manifest(path)
        rewritten = [_refused(row, takedowns) for row in rows]
        if rewritten != rows:
            path.with_suffix(".json").unlink(missing_ok=True)
            write_manifest(path, rewritten)
            changed.append(path)
    for journal in _journals(home):
        lines = journal.read_bytes().splitlines(keepends=True)
        kept = [_refused_line(line, takedowns) for line in lines]
        if kept != lines:
            write_bytes(journal, b"".join(kept))
    return changed


def listed_rows(home: Home) -> Iterator[tuple[str, str, ManifestRow]]:
    """(asset, partition, row) of every manifest, and of what killed crawls noted and no manifest has yet.

    Raises SettingsProblem where a manifest is damaged.
    """
    for path in crawl_manifests(home):
        try:
            rows = read_manifest(path)
        except pa.ArrowInvalid as error:
            raise SettingsProblem(f"The manifest {path} is damaged; delete it and crawl its year again.") from error
        yield from ((path.parent.name, path.stem, row) for row in rows)
    for journal in _journals(home):
        noted = map(_noted, journal.read_bytes().splitlines())
        yield from ((journal.parent.name, journal.name.partition(".")[0], row) for row in noted if row)


def is_covered(row: ManifestRow, takedowns: Takedowns) -> str | None:
    """Why the row's photograph is taken down; None where it is not."""
    return takedowns.covers(row.photo_id, (row.file_url, row.landing_url))


def _refused(row: ManifestRow, takedowns: Takedowns) -> ManifestRow:
    reason = is_covered(row, takedowns)
    if reason is None or row.status == Status.REJECTED:
        return row
    emptied = dict.fromkeys(("photo_id", "width", "height", "mime"))
    now = datetime.datetime.now(datetime.UTC)
    return row.model_copy(
        update={**emptied, "status": Status.REJECTED, "reason": f"{TAKEN_DOWN}: {reason}", "retrieved_at": now}
    )


def _refused_line(line: bytes, takedowns: Takedowns) -> bytes:
    row = _noted(line)
    refused = _refused(row, takedowns) if row else None
    return line if refused is row or refused is None else refused.model_dump_json().encode() + b"\n"


def _journals(home: Home) -> list[Path]:
    """What killed crawls left: manifest rows as JSON, one a line."""
    return [path for asset in CRAWLS for path in sorted((home.manifests / asset).glob("*.journal.jsonl"))]


def _noted(line: bytes) -> ManifestRow | None:
    """The row of a journal's line; None for a torn one, which the next crawl cuts off."""
    try:
        return ManifestRow.model_validate_json(line)
    except pydantic.ValidationError:
        return None


def _holds(shard: Path, photo_ids: Set[str]) -> bool:
    """Whether a shard holds one of the photographs, or cannot be read; reads the names and no picture."""
    try:
        with tarfile.open(shard, "r:") as tar:
            return any(name.partition(".")[0] in photo_ids for name in tar.getnames())
    except (OSError, tarfile.TarError):
        return True


def mentions(path: Path, texts: Set[str]) -> bool:
    """Whether a text file contains one of ``texts``, or is not there."""
    if not path.exists():
        return True
    content = path.read_text(errors="replace")
    return any(text in content for text in texts)


def _names(path: Path, photo_ids: Set[str]) -> bool:
    """Whether a table names one of the photographs, or cannot be read; False where there is none."""
    if not path.exists():
        return False
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid:
        return True
    columns = (table[name].to_pylist() for name in _NAMING if name in table.column_names)
    return any(not photo_ids.isdisjoint(column) for column in columns)


def _drop_rows(path: Path, photo_ids: Set[str]) -> None:
    """Rewrite a table without the rows that name the photographs."""
    if not path.exists():
        return
    table = pq.read_table(path)
    names = [table[column].to_pylist() for column in _NAMING if column in table.column_names]
    kept = [photo_ids.isdisjoint(row) for row in zip(*names, strict=True)]
    if not all(kept):
        with atomic_path(path) as temporary:
            pq.write_table(table.filter(pa.array(kept)), temporary)
