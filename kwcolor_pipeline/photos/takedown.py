"""The takedown list: pictures that are never stored again, and why.

Belongs here: ``takedowns.jsonl`` in the home, read and extended, whether it covers a photograph, and
what the operator may write to name one. Removing what is there already is the affair of ``erasing``.
"""

import datetime
import fcntl
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pydantic

from kwcolor_pipeline.home import Home
from kwcolor_pipeline.settings import SettingsProblem

#: First word of the reason of a manifest row that the list refuses.
TAKEN_DOWN = "taken_down"

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SCHEMES = ("http", "https", "file")


class Takedown(pydantic.BaseModel):
    """One line of the list: a picture by its bytes, by addresses, or by both."""

    photo_id: str | None = pydantic.Field(None, pattern=r"^[0-9a-f]{64}$", description="sha256 of the file's bytes")
    urls: list[str] = pydantic.Field([], description="Addresses of the file, or of the page about it")
    reason: str = pydantic.Field(min_length=1, description="Why, for people")
    when: datetime.datetime


@dataclass(frozen=True)
class Reference:
    """What the operator names a picture by: exactly one of the two."""

    photo_id: str | None = None
    url: str | None = None


class Takedowns:
    """The list in memory: asking it costs a look into two tables."""

    def __init__(self, entries: Sequence[Takedown] = ()) -> None:
        self._by_id = {entry.photo_id: entry.reason for entry in entries if entry.photo_id}
        self._by_url = {plain_url(url): entry.reason for entry in entries for url in entry.urls}

    @classmethod
    def load(cls, home: Home) -> "Takedowns":
        """The home's list; an empty one where there is none.

        A last line that a killed process tore is left out. Raises SettingsProblem for any other line
        that cannot be read: a crawl must not store what it may forbid.
        """
        return cls(_read(home.takedowns))

    def covers(self, photo_id: str | None = None, urls: Iterable[str | None] = ()) -> str | None:
        """Why a picture of these bytes, or at one of these addresses, is taken down; None where it is not.

        Fragments and a slash at the end of an address do not count.
        """
        if photo_id in self._by_id:
            return self._by_id[photo_id]
        known = (plain_url(url) for url in urls if url)
        return next((self._by_url[url] for url in known if url in self._by_url), None)


def read_reference(text: str) -> Reference:
    """What ``text`` names: a sha256 of 64 hexadecimal digits, or an address.

    Raises SettingsProblem where it is neither.
    """
    text = text.strip()
    if _SHA256.fullmatch(text):
        return Reference(photo_id=text.lower())
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme in _SCHEMES and (parts.netloc or parts.path):
        return Reference(url=text)
    raise SettingsProblem(
        f"`{text}` is neither a picture's sha256 (64 hexadecimal digits) nor an address; "
        "`kwcolor attribution` lists both for every stored photograph."
    )


def plain_url(url: str) -> str:
    """``url`` without its fragment and without a slash at its end."""
    return url.partition("#")[0].removesuffix("/")


def record(home: Home, entries: Sequence[Takedown]) -> None:
    """Append ``entries`` to the list; they are on the disk when this returns.

    Raises SettingsProblem where the list is damaged, and nothing is changed then, or cannot be written.
    """
    try:
        home.root.mkdir(parents=True, exist_ok=True)
        with home.takedowns.open("a+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _append(handle, entries, home.takedowns)
        _sync_folder(home.root)
    except OSError as error:
        raise SettingsProblem(
            f"{home.takedowns} cannot be written ({error.strerror}); remedy that and give the command again."
        ) from error


def takedown_lines(home: Home) -> list[bytes]:
    """The list's entries as :func:`record` writes them, without line ends. Raises SettingsProblem as loading does."""
    return [entry.model_dump_json().encode() for entry in _read(home.takedowns)]


def _append(handle: BinaryIO, entries: Sequence[Takedown], path: Path) -> None:
    lines = b"".join(entry.model_dump_json().encode() + b"\n" for entry in entries)
    handle.seek(0)
    written = handle.read()
    _parsed(written, path)
    _, _, unended = written.rpartition(b"\n")
    if unended and _takedown(unended) is None:
        handle.truncate(len(written) - len(unended))
    elif unended:  # written by hand, whole but without a line end
        lines = b"\n" + lines
    handle.write(lines)
    handle.flush()
    os.fsync(handle.fileno())


def _read(path: Path) -> list[Takedown]:
    return _parsed(path.read_bytes(), path) if path.exists() else []


def _parsed(data: bytes, path: Path) -> list[Takedown]:
    *ended, unended = data.split(b"\n")
    entries = []
    for number, line in enumerate(ended, start=1):
        if not line.strip():
            continue
        entry = _takedown(line)
        if entry is None:
            raise SettingsProblem(
                f"{path}, line {number} is no takedown; correct it (photo_id, urls, reason, when) or remove it."
            )
        entries.append(entry)
    last = _takedown(unended)
    return [*entries, last] if last else entries


def _takedown(line: bytes) -> Takedown | None:
    try:
        return Takedown.model_validate_json(line)
    except pydantic.ValidationError:
        return None


def _sync_folder(folder: Path) -> None:
    """Make a new file's name as durable as its content."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
