"""Copies of the home for the day on which a disk, a hand or a program destroys it.

Belongs here: what is copied, how it is whole, and putting it back. What a shared store or a shared database holds
is no part of a home: they have backups of their own.

A backup folder holds the files of all its backups once each, ``objects/ab/<sha256>``, and for each backup a list
``backups/<time>.json`` of names and hashes, which is written last: without it nothing counts as a backup, with it
everything that it names is there. So each backup copies what is new, and one that was killed is continued.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from kwcolor_pipeline import __version__
from kwcolor_pipeline.home import Home, atomic_path, sha256_of, write_json
from kwcolor_pipeline.settings import SettingsProblem

#: Raised where the form of the list changes; another one is not restored.
_FORM = 1
_SQLITE = b"SQLite format 3\0"
_BESIDE_SQLITE = ("-wal", "-shm", "-journal")
#: Below the home, what is made again by itself, or means something to living processes only.
_LEFT_OUT = ("network", "locks", "logs", "pairs/cache", ".restoring", ".replaced")
#: What may grow while a backup is made: nothing that is copied vouches for it.
_GROWING = ("photos/", "mlartifacts/", "dagster/")
_GROWING_ENDINGS = (".checkpoint", ".journal.jsonl")
#: Looks at the home until nothing has changed between two of them.
_LOOKS = 5
_PHOTOGRAPH = re.compile(r"photos/[0-9a-f]{2}/([0-9a-f]{64})\.\w+")
_RESTORING, _REPLACED = ".restoring", ".replaced"


@dataclass
class BackedUp:
    """What a backup came to."""

    list_file: Path
    files: int
    copied: int
    """Files that were not in an earlier backup"""
    bytes: int
    """Their size"""
    problems: list[str] = field(default_factory=list)
    """A sentence for each photograph that is damaged, and left out"""


@dataclass(frozen=True)
class Restored:
    """What was put back."""

    list_file: Path
    files: int
    home_then: str
    """Where the home lay when the backup was made"""


def back_up(home: Home, folder: Path, *, keep: int | None = None) -> BackedUp:
    """Copy the home into a backup folder, which is made if it is missing; what is there already is not copied again.

    Databases are copied as one moment has them, also while they are written. With ``keep`` only so many backups stay.
    Raises SettingsProblem where there is no home, where it changes all the while (a run is under way), where a
    database is damaged, or where the folder cannot be used.
    """
    home_root, folder = home.root.resolve(), folder.expanduser().resolve()
    if not home_root.is_dir():
        raise SettingsProblem(f"There is no home at {home.root}; set KWCOLOR_HOME to the one to back up.")
    if folder.is_relative_to(home_root) or home_root.is_relative_to(folder):
        raise SettingsProblem(f"{folder} and the home {home.root} lie in each other; choose another folder.")
    with _told(folder), _alone(folder):
        return _back_up(home_root, folder, keep)


def _back_up(root: Path, folder: Path, keep: int | None) -> BackedUp:
    done = BackedUp(Path(), 0, 0, 0)
    # Histories first: what they tell of lies in files that are copied after them.
    entries = {name: _kept_database(folder, root / name, done) for name in _databases(root)}
    seen: dict[str, tuple[int, int]] | None = None
    for _ in range(_LOOKS):
        now = _files(root)
        before = seen or {}
        changed = [name for name, state in now.items() if before.get(name) != state]
        gone = [name for name in before if name not in now]
        if seen is not None and all(map(_may_grow, [*changed, *gone])):
            break
        for name in gone:
            entries.pop(name, None)
        for name in changed:
            with contextlib.suppress(FileNotFoundError):  # it went since: the next look sees that
                entry = _kept(folder, root / name, name, done)
                if entry is not None:
                    entries[name] = entry
        seen = now
    else:
        raise SettingsProblem(
            f"The home {root} changes all the while, so a backup would mix before and after; wait for the run that is "
            "under way, then give this command again: what was copied is kept."
        )
    made = datetime.datetime.now(datetime.UTC)
    done.list_file = folder / "backups" / f"{made:%Y%m%dT%H%M%S.%fZ}.json"
    done.files = len(entries)
    write_json(
        done.list_file,
        {"form": _FORM, "version": __version__, "made": made.isoformat(), "home": str(root), "files": entries},
    )
    if keep is not None:
        _forget_older(folder, keep)
    return done


def restore(folder: Path, home: Home, *, overwrite: bool = False, which: str | None = None) -> Restored:
    """Put the latest backup, or the one called ``which``, in the place of the home.

    Every file is compared with its hash before anything of the home is touched.
    Raises SettingsProblem where there is no whole backup, where a file of it is damaged, and where the home is not
    empty, unless ``overwrite``: then it is replaced.
    """
    folder = folder.expanduser().resolve()
    list_file = _chosen_list(folder, which)
    listed = _read_list(list_file)
    there = _entries(home.root)
    if there and not overwrite:
        raise SettingsProblem(
            f"{home.root} is not empty ({there[0].name}, …); give --overwrite to replace it by the backup, or set "
            "KWCOLOR_HOME to another folder."
        )
    restoring = home.root / _RESTORING
    with _told(home.root):
        shutil.rmtree(restoring, ignore_errors=True)
        for name, entry in listed["files"].items():
            _put_back(folder, entry, restoring / name)
        _exchange(home.root, restoring)
    return Restored(list_file, len(listed["files"]), listed["home"])


def _exchange(root: Path, restoring: Path) -> None:
    """Move what was restored to its place, and what was there away; within one folder, which may be a mount point."""
    replaced = root / _REPLACED
    replaced.mkdir(exist_ok=True)
    for path in _entries(root):
        path.rename(replaced / f"{path.name}.{secrets.token_hex(4)}")
    for path in sorted(restoring.iterdir()):
        path.rename(root / path.name)
    restoring.rmdir()
    shutil.rmtree(replaced)


def _entries(root: Path) -> list[Path]:
    """What is in a home, but for what an interrupted restoration left."""
    if not root.exists():
        return []
    return sorted(path for path in root.iterdir() if path.name not in (_RESTORING, _REPLACED))


def _put_back(folder: Path, entry: dict[str, Any], to: Path) -> None:
    stored = _object(folder, entry["sha256"])
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(stored, to)
    except FileNotFoundError as error:
        raise SettingsProblem(
            f"The backup lacks {stored}; restore an older one with --which, or another copy of {folder}."
        ) from error
    if to.stat().st_size != entry["bytes"] or sha256_of(to) != entry["sha256"]:
        raise SettingsProblem(
            f"{stored} is damaged: its bytes have another sha256 than its name; restore from another copy of {folder}. "
            "Nothing was changed."
        )
    to.chmod(entry["mode"])
    os.utime(to, ns=(entry["mtime_ns"], entry["mtime_ns"]))


def _chosen_list(folder: Path, which: str | None) -> Path:
    lists = sorted((folder / "backups").glob("*.json"))
    if which is not None:
        lists = [path for path in lists if path.stem == which.removesuffix(".json")]
    if not lists:
        name = f" called {which}" if which else ""
        raise SettingsProblem(f"There is no finished backup{name} in {folder}; `kwcolor backup {folder}` makes one.")
    return lists[-1]


def _read_list(path: Path) -> dict[str, Any]:
    try:
        listed = json.loads(path.read_text())
        form, files = listed["form"], listed["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsProblem(f"{path} is no list of a backup; name another one with --which.") from error
    if form != _FORM:
        raise SettingsProblem(
            f"{path} was written by version {listed.get('version')} of the pipeline; restore it with that version."
        )
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise SettingsProblem(f"{path} names {name}, which is outside a home; do not restore this backup.")
    return listed


def _databases(root: Path) -> list[str]:
    return [name for name in _names(root) if _is_database(root / name)]


def _files(root: Path) -> dict[str, tuple[int, int]]:
    """Name of every other file to its time and size."""
    found = {}
    for name in _names(root):
        with contextlib.suppress(FileNotFoundError):
            if not _is_database(root / name):
                status = (root / name).stat()
                found[name] = (status.st_mtime_ns, status.st_size)
    return found


def _names(root: Path) -> Iterator[str]:
    """Files of the home by their names below it, in order; without what is left out."""
    for directory, folders, files in os.walk(root):
        below = Path(directory).relative_to(root)
        folders[:] = sorted(name for name in folders if not _is_left_out(below / name))
        for name in sorted(files):
            path = below / name
            if not _is_left_out(path) and (root / path).is_file():
                yield path.as_posix()


def _is_left_out(path: Path) -> bool:
    """Whether it is made again, or is half written: temporary names begin with a dot."""
    if path.as_posix() in _LEFT_OUT or path.name.endswith((".part", ".old", ".lock")):
        return True
    return path.name.endswith(_BESIDE_SQLITE)


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(len(_SQLITE)) == _SQLITE
    except FileNotFoundError:
        return False


def _may_grow(name: str) -> bool:
    return name.startswith(_GROWING) or name.endswith(_GROWING_ENDINGS)


def _kept_database(folder: Path, database: Path, done: BackedUp) -> dict[str, Any]:
    """Copy a database as it is at one moment. Raises SettingsProblem where it is damaged."""
    with _temporary(folder) as copy:
        try:
            with (
                contextlib.closing(sqlite3.connect(database, timeout=60)) as source,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
                (sound,) = target.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            raise SettingsProblem(f"The database {database} cannot be copied ({error}).") from error
        if sound != "ok":
            raise SettingsProblem(f"The database {database} is damaged ({sound}); restore it from an earlier backup.")
        return _taken(folder, copy, sha256_of(copy), database.stat(), done)


def _kept(folder: Path, path: Path, name: str, done: BackedUp) -> dict[str, Any] | None:
    """Copy a file unless it is there; None for a photograph that is damaged."""
    photograph = _PHOTOGRAPH.fullmatch(name)
    status = path.stat()
    if photograph:  # its name is its hash, so that most are not even read
        stored = _object(folder, photograph[1])
        if stored.exists() and stored.stat().st_size == status.st_size:
            return _entry(photograph[1], status)
    with _temporary(folder) as copy:
        sha256 = _copied(path, copy)
        if photograph and sha256 != photograph[1]:
            sentence = f"The photograph {path} is damaged and was left out; delete it and crawl its year again."
            done.problems += [sentence] if sentence not in done.problems else []
            return None
        return _taken(folder, copy, sha256, status, done)


def _taken(folder: Path, copy: Path, sha256: str, status: os.stat_result, done: BackedUp) -> dict[str, Any]:
    """Give a copy its place among the objects."""
    stored, size = _object(folder, sha256), copy.stat().st_size
    if not (stored.exists() and stored.stat().st_size == size):
        with atomic_path(stored) as final:
            copy.rename(final)
        done.copied += 1
        done.bytes += size
    return {**_entry(sha256, status), "bytes": size}


def _entry(sha256: str, status: os.stat_result) -> dict[str, Any]:
    return {
        "sha256": sha256,
        "bytes": status.st_size,
        "mode": status.st_mode & 0o777,
        "mtime_ns": status.st_mtime_ns,
    }


def _copied(path: Path, to: Path) -> str:
    """Copy a file's bytes; gives their sha256."""
    digest = hashlib.sha256()
    with path.open("rb") as source, to.open("wb") as target:
        while piece := source.read(1 << 20):
            digest.update(piece)
            target.write(piece)
    return digest.hexdigest()


def _object(folder: Path, sha256: str) -> Path:
    return folder / "objects" / sha256[:2] / sha256


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A name for a file that is gone afterwards unless it was moved."""
    path = folder / "unfinished" / secrets.token_hex(8)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _forget_older(folder: Path, keep: int) -> None:
    """Delete all but the latest backups, and the objects that none of them names."""
    lists = sorted((folder / "backups").glob("*.json"))
    for path in lists[:-keep]:
        path.unlink()
    wanted = {entry["sha256"] for path in lists[-keep:] for entry in _read_list(path)["files"].values()}
    for stored in (folder / "objects").glob("??/*"):
        if stored.name not in wanted:
            stored.unlink()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep two backups from being made in one folder at once; forget what a killed one left half copied."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsProblem(f"Another backup is being made in {folder}; wait until it ends.") from error
        shutil.rmtree(folder / "unfinished", ignore_errors=True)
        yield


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the disk refuses, as one sentence."""
    try:
        yield
    except OSError as error:
        raise SettingsProblem(
            f"{error.filename or folder} cannot be read or written ({error.strerror or error}); make room or choose "
            "another folder, then give this command again: what was copied is kept."
        ) from error
