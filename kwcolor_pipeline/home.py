"""The one folder that is written to, and how it is written to.

Belongs here: where things lie below ``KWCOLOR_HOME``, atomic writes, content hashes, and the
record that a stage leaves beside its result. What a photograph, a pair or a model looks like
does not.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Home:
    """Paths below ``root``; nothing is created until it is written."""

    root: Path

    @property
    def photos(self) -> Path:
        """Content-addressed pictures: ``ab/abcd….jpg``."""
        return self.root / "photos"

    @property
    def manifests(self) -> Path:
        """Parquet tables: ``<asset>/<key>.parquet``."""
        return self.root / "manifests"

    @property
    def network(self) -> Path:
        """What crawls remember of hosts: when they were asked, and what a run has listed. Nothing lasting."""
        return self.root / "network"

    @property
    def locks(self) -> Path:
        """By which steps of this machine keep out of each other's way. Nothing lasting."""
        return self.root / "locks"

    @property
    def pairs(self) -> Path:
        return self.root / "pairs"

    @property
    def models(self) -> Path:
        """Model bundles: ``<asset>/<fingerprint>/``."""
        return self.root / "models"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def mlflow_database(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlartifacts"

    @property
    def takedowns(self) -> Path:
        """Pictures that are never stored again, one JSON object per line."""
        return self.root / "takedowns.jsonl"

    @property
    def watched(self) -> Path:
        """Which pictures of the watched folder were dealt with."""
        return self.root / "watched.json"

    @property
    def dagster(self) -> Path:
        """``DAGSTER_HOME`` of the runs that ``kwcolor`` starts."""
        return self.root / "dagster"


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Give a temporary path beside ``final``; on success sync it and rename it into place.

    A reader, or a process that is killed, sees the old file or the new one and never a part.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """Like :func:`atomic_path` for a folder; a folder that is already at ``final`` is replaced."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    temporary.mkdir()
    try:
        yield temporary
        for written in temporary.rglob("*"):
            if written.is_file():
                with written.open("rb") as handle:
                    os.fsync(handle.fileno())
        if final.exists():
            outdated = final.with_name(f".{final.name}.{secrets.token_hex(4)}.old")
            os.replace(final, outdated)
            os.replace(temporary, final)
            shutil.rmtree(outdated)
        else:
            os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(final: Path, data: bytes) -> None:
    """Write ``data`` atomically, like :func:`atomic_path`; with fewer calls, since every photograph comes this way."""
    temporary = final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        try:
            handle = temporary.open("xb", buffering=0)
        except FileNotFoundError:
            final.parent.mkdir(parents=True, exist_ok=True)
            handle = temporary.open("xb", buffering=0)
        with handle:
            view = memoryview(data)
            while view:  # a disk that runs full may take a part before it refuses
                view = view[handle.write(view) :]
            os.fsync(handle.fileno())
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(final: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_bytes(final, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(asked: Any) -> str:
    """Hex sha256 of any JSON-serializable description of what was asked of a stage."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """What a stage leaves beside its output: what it was asked, and what came out.

    ``fingerprint`` hashes the inputs' data versions, the configuration and the code version;
    ``data_version`` hashes the output. A stage that is asked the same again returns this.
    """

    fingerprint: str
    data_version: str
    summary: dict[str, Any]

    def write(self, path: Path) -> None:
        write_json(path, {"fingerprint": self.fingerprint, "data_version": self.data_version, "summary": self.summary})

    @classmethod
    def read(cls, path: Path) -> "Result | None":
        """The record at ``path``; None where there is none or where it cannot be read as one."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
