"""The store that several machines share: an object store, or any folder that fsspec can reach.

Belongs here: what lies in it under which name, and how files come and go whole. Which files a step needs is
the affair of `orchestration.shared_home`.

A unit is what is written together: a year's manifest, the tables of an asset, its report, a model. Its files lie
under names with their hash in them, ``pairs/index.<hash>.parquet``, so that none is ever overwritten, and
``pairs/index.json`` says which of them count. It is written last, in one request: a reader sees the unit as it was
before or as it is after, whatever was killed. Photographs are named by their content and only ever added.
"""

import contextlib
import datetime
import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import filelock

from kwcolor_pipeline.home import sha256_of, write_bytes
from kwcolor_pipeline.settings import SettingsProblem

#: Name of a unit's index in the store.
_INDEX = "index.json"
#: Files that are fetched or put at once, before they are looked at.
_BATCH = 256
#: Hexadecimal digits of a file's hash in its name.
_HASH_DIGITS = 16
#: Files that no index names are deleted when they are older: what killed workers left, and what was replaced.
_GRACE = datetime.timedelta(days=1)

#: Name of a file below its unit's folder to its sha256 and size.
Files = dict[str, tuple[str, int]]


@dataclass(frozen=True)
class Unit:
    """Files that are written together: those below ``folder`` that ``patterns`` (globs) choose."""

    #: Its folder in the store; no unit lies in another's.
    name: str
    folder: Path
    patterns: tuple[str, ...]
    #: Whether files of the unit that the store no longer has are deleted here as well.
    mirrored: bool = True

    def local_files(self) -> list[Path]:
        """Its files on this machine, in the order of their names."""
        found = {path for pattern in self.patterns for path in self.folder.glob(pattern) if path.is_file()}
        return sorted(path for path in found if not any(part.startswith(".") for part in self._below(path).parts))

    def name_of(self, path: Path) -> str:
        """A file's name below the unit's folder, as it is written in the index."""
        return self._below(path).as_posix()

    def _below(self, path: Path) -> Path:
        return path.relative_to(self.folder)


class SharedStore:
    """The store at an fsspec ``url``, an object store or a folder; ``locks`` is a folder of this machine.

    By files in it steps of one machine keep out of each other's way. Who may enter the store is the affair of the
    environment, as the protocol's library reads it (for S3: ``AWS_*``).
    Every method raises SettingsProblem, without secrets, where the store cannot be reached, read or written.
    """

    def __init__(self, url: str, locks: Path) -> None:
        import fsspec

        self.url = url.rstrip("/")
        self._locks = locks
        try:
            # A listing that is remembered would not show what other machines have put there.
            self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise SettingsProblem(
                f"The shared store {self.url} needs a package that is not installed ({error}); "
                "for S3: pip install 'kwcolor_pipeline[s3]'."
            ) from error
        except ValueError as error:
            raise SettingsProblem(f"The shared store {self.url} is of no kind that fsspec knows ({error}).") from error
        self._is_folder = "file" in _protocols(self._fs)
        # What units' indexes said when they were fetched, to see who changed them since: this machine or another.
        self._seen: dict[str, Files | None] = {}

    def check(self) -> None:
        """Write, read and delete a small object, as every step has to be able to."""
        probe = self._path(f".probe-{secrets.token_hex(8)}")
        with self._told("used"):
            self._write(probe, b"probe")
            if self._fs.cat_file(probe) != b"probe":
                raise SettingsProblem(f"The shared store {self.url} gives back something else than was put there.")
            self._fs.rm_file(probe)

    @contextlib.contextmanager
    def writing(self, units: Iterable[Unit]) -> Iterator[None]:
        """Hold the units: no other step of this machine writes them or fetches them over what is being written."""
        with contextlib.ExitStack() as held:
            for unit in sorted(units, key=lambda unit: unit.name):
                held.enter_context(self._lock(unit))
            yield

    def pull(self, unit: Unit, *, held: bool = False) -> bool:
        """Bring the unit's files here to what the store has; False where the store has none of it.

        Without ``held`` (see :meth:`writing`) a unit that another step of this machine writes is left as it is:
        what that step will put into the store is newer.
        """
        if held:
            return self._pull(unit)
        lock = self._lock(unit)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return True
        try:
            return self._pull(unit)
        finally:
            lock.release()

    def push(self, unit: Unit, *, purge: bool = False) -> bool:
        """Put the unit's files into the store; gives whether anything changed.

        ``purge`` deletes at once what the index no longer names, and not after a day.
        Raises SettingsProblem as well where another machine wrote the unit since it was pulled.
        """
        local = {unit.name_of(path): path for path in unit.local_files()}
        files = {name: (sha256_of(path), path.stat().st_size) for name, path in local.items()}
        if files == self._seen.get(unit.name) and not purge:
            return False
        known = self._read_index(unit)
        if known != self._seen.get(unit.name, known):
            raise SettingsProblem(
                f"Another worker has written {unit.name} in {self.url} while this one computed it; run this step again."
            )
        changed = files != (known or {})
        if changed:
            new = [name for name, facts in files.items() if (known or {}).get(name) != facts]
            self._put((local[name], self._object(unit, name, files[name][0])) for name in new)
            self.write(f"{unit.name}/{_INDEX}", _written_index(files))
            self._seen[unit.name] = files
        if changed or purge:
            self._delete_outdated(unit, files, datetime.timedelta() if purge else _GRACE)
        return changed

    def pull_photographs(self, wanted: Mapping[Path, str]) -> int:
        """Fetch the pictures that are missing here; ``wanted``: local file to name in the store. Gives how many.

        Raises SettingsProblem where one is missing in the store, or is not what its name says.
        """
        missing = [(path, name) for path, name in wanted.items() if not path.exists()]
        for batch in _batches(missing):
            self._get([(self._path(name), path, path.stem, None) for path, name in batch])
        return len(missing)

    def push_photographs(self, pictures: Mapping[Path, str]) -> None:
        """Put pictures into the store; putting one that is there already changes nothing."""
        self._put((path, self._path(name)) for path, name in pictures.items())

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are not there count as deleted."""
        for name in names:
            with self._told("written"), contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._path(name))

    def read_all(self, folder: str) -> dict[str, bytes]:
        """Name to content of the small objects of a folder."""
        with self._told("read"):
            return {PurePosixPath(path).name: self._fs.cat_file(path) for path in self._list(self._path(folder))}

    def write(self, name: str, data: bytes) -> None:
        """Put a small object into the store, whole."""
        with self._told("written"):
            self._write(self._path(name), data)

    def names_below(self, folder: str) -> set[str]:
        """Names of all objects of a folder, with the folder's own."""
        with self._told("read"):
            return {path.removeprefix(self._path("")) for path in self._find(self._path(folder))}

    def unit_names(self, below: str) -> list[str]:
        """Units directly below a folder of the store."""
        with self._told("read"):
            indexes = [PurePosixPath(path) for path in self._find(self._path(below)) if path.endswith(f"/{_INDEX}")]
        root = PurePosixPath(self._path(below))
        return sorted(str(path.parent.relative_to(root)) for path in indexes if len(path.relative_to(root).parts) == 2)

    def _pull(self, unit: Unit) -> bool:
        files = self._seen[unit.name] = self._read_index(unit)
        if files is None:
            return False
        outdated = [name for name, facts in files.items() if not _is(unit.folder / name, *facts)]
        # Records last: what they vouch for is there when they are.
        outdated.sort(key=lambda name: (name.endswith(".json"), name))
        for batch in _batches(outdated):
            self._get([(self._object(unit, name, files[name][0]), unit.folder / name, *files[name]) for name in batch])
        if unit.mirrored:
            for path in unit.local_files():
                if unit.name_of(path) not in files:
                    path.unlink()
        return True

    def _get(self, wanted: list[tuple[str, Path, str, int | None]]) -> None:
        """Fetch (object, local file, its sha256, its size); a file appears here whole, as it should be, or not."""
        parts = [path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for _, path, _, _ in wanted]
        for folder in {part.parent for part in parts}:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with self._told("read"):
                self._fs.get([name for name, _, _, _ in wanted], [str(part) for part in parts])
            for part, (name, path, sha256, size) in zip(parts, wanted, strict=True):
                if not _is(part, sha256, size):
                    raise SettingsProblem(
                        f"{name} in the shared store is damaged: its bytes have another sha256 than they should; "
                        "delete it there and run the step that makes it again."
                    )
                part.replace(path)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)

    def _put(self, files: Iterable[tuple[Path, str]]) -> None:
        for batch in _batches(list(files)):
            with self._told("written"):
                if self._is_folder:  # object stores have no folders; s3fs would make a missing bucket instead
                    for _, name in batch:
                        Path(name).parent.mkdir(parents=True, exist_ok=True)
                self._fs.put([str(path) for path, _ in batch], [name for _, name in batch])
                sizes = self._fs.sizes([name for _, name in batch])
                for (path, name), size in zip(batch, sizes, strict=True):
                    if size != path.stat().st_size:
                        raise SettingsProblem(f"{name} arrived in the shared store with another size; run this again.")

    def _read_index(self, unit: Unit) -> Files | None:
        path = self._path(unit.name, _INDEX)
        with self._told("read"):
            try:
                written = self._fs.cat_file(path)
            except FileNotFoundError:
                return None
        try:
            files = {name: (facts["sha256"], facts["bytes"]) for name, facts in json.loads(written)["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsProblem(f"{path} in the shared store is no index; delete it and run this again.") from error
        outside = [name for name in files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
        if outside:
            raise SettingsProblem(f"{path} in the shared store names {outside[0]}, which is outside its folder.")
        return files

    def _delete_outdated(self, unit: Unit, files: Files, grace: datetime.timedelta) -> None:
        kept = {self._object(unit, name, sha256) for name, (sha256, _) in files.items()}
        kept.add(self._path(unit.name, _INDEX))
        now = datetime.datetime.now(datetime.UTC)
        with self._told("read"):
            for path in self._find(self._path(unit.name)):
                if path in kept:
                    continue
                with contextlib.suppress(FileNotFoundError):  # another worker was faster
                    if now - _aware(self._fs.modified(path)) >= grace:
                        self._fs.rm_file(path)

    def _list(self, folder: str) -> list[str]:
        try:
            return sorted(self._fs.ls(folder, detail=False))
        except FileNotFoundError:
            return []

    def _find(self, folder: str) -> list[str]:
        try:
            return sorted(self._fs.find(folder))
        except FileNotFoundError:
            return []

    def _write(self, path: str, data: bytes) -> None:
        if self._is_folder:  # fsspec writes local files in place; a reader might see half of one
            write_bytes(Path(path), data)
        else:
            self._fs.pipe_file(path, data)

    def _object(self, unit: Unit, name: str, sha256: str) -> str:
        path = PurePosixPath(name)
        return self._path(unit.name, str(path.with_name(f"{path.stem}.{sha256[:_HASH_DIGITS]}{path.suffix}")))

    def _path(self, *parts: str) -> str:
        return "/".join([self._root.rstrip("/"), *parts])

    def _lock(self, unit: Unit) -> filelock.BaseFileLock:
        self._locks.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self._locks / f"{hashlib.sha256(unit.name.encode()).hexdigest()[:16]}.lock")

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Errors of the store as one sentence."""
        try:
            yield
        except FileNotFoundError as error:
            raise SettingsProblem(
                f"Something is missing in the shared store {self.url} ({error.filename or _one_line(error)}); is the "
                "bucket there, was it emptied?"
            ) from error
        except _store_errors() as error:
            raise SettingsProblem(
                f"The shared store {self.url} cannot be {what} ({type(error).__name__}: {_one_line(error)}); "
                "check its address, its credentials in the environment and the network."
            ) from error


def _store_errors() -> tuple[type[Exception], ...]:
    """What the libraries behind fsspec raise where a store does not answer as it should."""
    errors: list[type[Exception]] = [OSError]
    with contextlib.suppress(ImportError):
        import botocore.exceptions

        errors += [botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError]
    with contextlib.suppress(ImportError):
        import aiohttp

        errors.append(aiohttp.ClientError)
    return tuple(errors)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _aware(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _is(path: Path, sha256: str, size: int | None) -> bool:
    """Whether a file is there with these bytes; the size, where it is known, spares most hashing."""
    if not path.is_file() or (size is not None and path.stat().st_size != size):
        return False
    return sha256_of(path) == sha256


def _written_index(files: Files) -> bytes:
    entries = {name: {"sha256": sha256, "bytes": size} for name, (sha256, size) in files.items()}
    return (json.dumps({"files": entries}, indent=1, sort_keys=True) + "\n").encode()


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
