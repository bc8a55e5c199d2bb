"""Shards: tar files that any tool opens, each with some of a split's pairs.

Belongs here: which pairs lie in which shard, and writing and reading the tar files. What the files of a pair
hold is the affair of ``pairs``.

``pairs/<split>/<partition>-<bucket>-<content>.tar``. A shard's name and bytes depend on its photographs and
the settings alone. Photographs of one year lie together, so another year leaves the other years' shards as
they are; within a year they are spread by their ids.
"""

import contextlib
import io
import math
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from kwcolor_pipeline.home import Home, atomic_path, fingerprint
from kwcolor_pipeline.photos.manifest import UNDATED
from kwcolor_pipeline.photos.measured import Row

#: Photographs that a shard holds, about.
SHARD_SIZE = 256

#: What a shard holds of one photograph: its files by ending (``color.jpg``, ``gray.png``, ``json``).
Files = Mapping[str, bytes]


def planned(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The shards by name, each with its photographs.

    Rows have ``photo_id``, ``split``, ``partition`` and all that the content of a shard depends on.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["split"], row["partition"] or UNDATED].append(row)
    shards = {}
    for (split, partition), members in groups.items():
        bits = max(0, math.ceil(math.log2(len(members) / SHARD_SIZE)))
        buckets: dict[int, list[Row]] = defaultdict(list)
        for row in sorted(members, key=lambda row: row["photo_id"]):
            buckets[int(row["photo_id"][:8], 16) >> (32 - bits)].append(row)
        for bucket, photographs in buckets.items():
            content = fingerprint(photographs)
            shards[f"{split}/{partition}-{bucket:0{max(1, -(-bits // 4))}x}-{content[:12]}.tar"] = photographs
    return shards


def write_shard(path: Path, pairs: Iterable[tuple[str, Files]]) -> None:
    """Write the files of photographs, in the order given, one photograph in memory at a time."""
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for photo_id, files in pairs:
            for ending in sorted(files):
                # TarInfo's own defaults are fixed: mtime 0, owner 0, mode 644.
                member = tarfile.TarInfo(f"{photo_id}.{ending}")
                member.size = len(files[ending])
                tar.addfile(member, io.BytesIO(files[ending]))


def read_shard(path: Path) -> dict[str, dict[str, bytes]]:
    """The files of each photograph in a shard, by ending."""
    files: dict[str, dict[str, bytes]] = defaultdict(dict)
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            files[member.name.partition(".")[0]] |= _content(tar, member)
    return files


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[Callable[[str], dict[str, bytes]]]:
    """Gives a function that reads the files of one photograph, by ending."""
    with tarfile.open(path, "r:") as tar:
        members: dict[str, list[tarfile.TarInfo]] = defaultdict(list)
        for member in tar:
            members[member.name.partition(".")[0]].append(member)
        yield lambda photo_id: {
            ending: data for member in members[photo_id] for ending, data in _content(tar, member).items()
        }


def delete_others(home: Home, names: Iterable[str]) -> None:
    """Delete all shards but these."""
    wanted = {home.pairs / name for name in names}
    for path in home.pairs.glob("*/*.tar"):
        if path not in wanted:
            path.unlink()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, bytes]:
    """The bytes of a file by its ending; nothing for what is no file."""
    content = tar.extractfile(member)
    return {member.name.partition(".")[2]: content.read()} if content else {}
