"""The second look: copies that hashes cannot find, because they are cropped, framed, captioned or turned.

Belongs here: which photographs look alike (EfficientNet-Lite0 embeddings), which of those pairs are copies (both laid
over each other), and keeping both, so that nothing is looked at twice. The networks and the comparison itself are in
``networks``; what follows from a pair is the affair of ``near_duplicates``.

``manifests/deduplicated_photos/embeddings.parquet`` and ``comparisons.parquet``.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from kwcolor_pipeline.home import Home, atomic_path
from kwcolor_pipeline.photos.borders import BORDERS_VERSION, trim_box
from kwcolor_pipeline.photos.hashing import small_grey
from kwcolor_pipeline.photos.measured import UNREADABLE, Progress
from kwcolor_pipeline.photos.store import PhotoStore

if TYPE_CHECKING:
    from kwcolor_pipeline.settings import NearDuplicateSettings

log = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_EMBEDDINGS = pa.schema([("photo_id", pa.string()), ("embedding", pa.binary())])
_COMPARISONS = pa.schema([("first", pa.string()), ("second", pa.string()), ("score", pa.float32())])
_VERSION_KEY = b"kwcolor_version"
# Photographs embedded at a time, and pairs compared at a time: what is in memory, and how well matrices are used.
_BATCH = 64
_PAIRS = 256
# Rows of the table of similarities that are computed at a time.
_ROWS = 1024
# What is computed between two saves: this many rows or this share of those that are there, whichever is more.
_SAVE_EVERY, _SAVE_SHARE = 2000, 0.1


class SecondLook:
    """Compares photographs of ``store`` by what they show; remembers what it has seen below ``home``."""

    def __init__(self, home: Home, wanted: "NearDuplicateSettings", progress: Progress | None = None) -> None:
        self._folder = home.manifests / "deduplicated_photos"
        self._store = PhotoStore(home.photos)
        self._wanted = wanted
        self._progress = progress
        self._scores: dict[tuple[str, str], float] | None = None
        #: Photographs embedded and pairs compared now, not remembered.
        self.newly_embedded, self.newly_compared = 0, 0

    def candidates(self, photo_ids: Sequence[str], doubtful: Indices) -> Indices:
        """Pairs [pairs, 2] of positions in ``photo_ids`` that are worth comparing.

        Each photograph with those most like it, and of the pairs ``doubtful``, which one hash calls near and the
        other does not, those that look somewhat alike.
        """
        vectors = self._embeddings(photo_ids)
        found = similar_pairs(vectors, self._wanted.similarity, self._wanted.neighbours)
        if len(doubtful):
            alike = np.einsum("ij,ij->i", vectors[doubtful[:, 0]], vectors[doubtful[:, 1]])
            found = np.concatenate([found, doubtful[alike >= self._wanted.doubtful_similarity]])
        return np.unique(np.sort(found, axis=1), axis=0)

    def are_copies(self, photo_ids: Sequence[str], pairs: Indices) -> npt.NDArray[np.bool_]:
        """Of each pair of positions in ``photo_ids`` whether both are copies of one photograph."""
        named = [_ordered(photo_ids[first], photo_ids[second]) for first, second in pairs.tolist()]
        known = self._compared(named)
        return np.array([known[pair] >= self._wanted.same_score for pair in named], dtype=bool)

    def save(self) -> None:
        """Keep the comparisons of this look; :meth:`are_copies` keeps them only now and then."""
        if self._scores is not None and self.newly_compared:
            rows = sorted(self._scores)
            table = {
                "first": [first for first, _ in rows],
                "second": [second for _, second in rows],
                "score": [self._scores[pair] for pair in rows],
            }
            _write(self._folder / "comparisons.parquet", pa.table(table, schema=_COMPARISONS), _comparison_version())

    def _embeddings(self, photo_ids: Sequence[str]) -> Vectors:
        """Unit vectors of the photographs; zeros, which nothing is like, of those that cannot be read."""
        known = _read_embeddings(self._folder)
        unseen = [photo_id for photo_id in photo_ids if photo_id not in known]
        saved = len(known)
        batches = [unseen[start : start + _BATCH] for start in range(0, len(unseen), _BATCH)]
        with tqdm(total=len(unseen), desc="look", unit="photo", disable=None, leave=False) as shown:
            for batch, vectors in zip(batches, self._embedded(batches), strict=True):
                known |= dict(zip(batch, vectors, strict=True))
                self.newly_embedded += len(batch)
                shown.update(len(batch))
                if self._progress:
                    self._progress(self.newly_embedded, len(unseen))
                if len(known) - saved > max(_SAVE_EVERY, _SAVE_SHARE * saved):
                    _write_embeddings(self._folder, known)
                    saved = len(known)
        if unseen:
            _write_embeddings(self._folder, known)
        return np.stack([known[photo_id] for photo_id in photo_ids]).astype(np.float32)

    def _embedded(self, batches: Sequence[Sequence[str]]) -> Iterator[npt.NDArray[np.float16]]:
        if not batches:
            return
        from kwcolor_pipeline.networks.embeddings import LENGTH, SIDE, embed

        for pictures in self._opened(batches, SIDE):
            vectors = np.zeros((len(pictures), LENGTH), dtype=np.float16)
            readable = [(place, picture) for place, picture in enumerate(pictures) if picture is not None]
            if readable:
                vectors[[place for place, _ in readable]] = embed(np.stack([picture for _, picture in readable]))
            yield vectors

    def _compared(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
        """The score of each pair of ids, and of all others that are known."""
        if self._scores is None:
            self._scores = _read_comparisons(self._folder)
        unseen = sorted({pair for pair in pairs if pair not in self._scores})
        batches = [unseen[start : start + _PAIRS] for start in range(0, len(unseen), _PAIRS)]
        names = [sorted({photo_id for pair in batch for photo_id in pair}) for batch in batches]
        saved = len(self._scores)
        with tqdm(total=len(unseen), desc="compare", unit="pair", disable=None, leave=False) as shown:
            for batch, scores in zip(batches, self._scored(batches, names), strict=True):
                self._scores |= dict(zip(batch, scores.tolist(), strict=True))
                self.newly_compared += len(batch)
                shown.update(len(batch))
                if len(self._scores) - saved > max(_SAVE_EVERY, _SAVE_SHARE * saved):
                    self.save()
                    saved = len(self._scores)
        return self._scores

    def _scored(
        self, batches: Sequence[Sequence[tuple[str, str]]], names: Sequence[Sequence[str]]
    ) -> Iterator[npt.NDArray[np.float32]]:
        if not batches:
            return
        from kwcolor_pipeline.networks.alignment import SIDE, copy_scores

        for batch, photo_ids, opened in zip(batches, names, self._opened(names, SIDE), strict=True):
            blank = np.zeros((SIDE, SIDE), dtype=np.uint8)
            pictures = np.stack([blank if picture is None else picture for picture in opened])
            place = {photo_id: number for number, photo_id in enumerate(photo_ids)}
            first, second = (np.array([place[pair[side]] for pair in batch], dtype=np.int64) for side in (0, 1))
            yield copy_scores(pictures, first, second, self._wanted.coarse_score)

    def _opened(self, batches: Sequence[Sequence[str]], side: int) -> Iterator[list[npt.NDArray[np.uint8] | None]]:
        """The batches' pictures, each batch read while the one before is worked on; None where one cannot be read."""
        with ThreadPoolExecutor(2) as pool:
            read = [[pool.submit(self._small, photo_id, side) for photo_id in batch] for batch in batches[:1]]
            for number in range(len(batches)):
                if number + 1 < len(batches):
                    read.append([pool.submit(self._small, photo_id, side) for photo_id in batches[number + 1]])
                yield [one.result() for one in read.pop(0)]

    def _small(self, photo_id: str, side: int) -> npt.NDArray[np.uint8] | None:
        """The picture without borders, in grey and squeezed to a square: [side, side]; None where it cannot be read."""
        try:
            grey = small_grey(self._store.find(photo_id))
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            log.warning("photograph %s… cannot be read: %s", photo_id[:12], error)
            return None
        return square(grey, side)


def square(grey: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    """A grey picture without its borders, squeezed to [side, side]."""
    return np.asarray(grey.crop(trim_box(grey)).resize((side, side), Image.Resampling.BOX))


def similar_pairs(vectors: Vectors, similarity: float, neighbours: int) -> Indices:
    """Pairs i < j of unit ``vectors`` [n, d] with a cosine of at least ``similarity``: [pairs, 2], sorted.

    Of each vector at most its ``neighbours`` nearest. Exact: every pair is multiplied, n² d operations in blocks, as
    many as two cores do in ten seconds for 50,000 photographs and in an hour for a million.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(vectors), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -1  # itself
        near = np.flatnonzero(cosines.max(axis=1, initial=-1) >= similarity)
        if not near.size:
            continue
        count = min(neighbours, cosines.shape[1])
        best = np.argpartition(-cosines[near], count - 1, axis=1)[:, :count]
        which, place = np.nonzero(np.take_along_axis(cosines[near], best, axis=1) >= similarity)
        found.append(np.stack([start + near[which], best[which, place]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def read_embeddings(home: Home) -> tuple[list[str], Vectors]:
    """The photographs that were embedded and their unit vectors [n, LENGTH]; those that cannot be read are left out."""
    known = _read_embeddings(home.manifests / "deduplicated_photos")
    readable = [photo_id for photo_id, vector in known.items() if vector.any()]
    if not readable:
        return [], np.empty((0, 0), dtype=np.float32)
    return readable, np.stack([known[photo_id] for photo_id in readable]).astype(np.float32)


def _ordered(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)


def _small_version() -> str:
    return f"2 borders={BORDERS_VERSION} pillow={PIL.__version__}"


def _embedding_version() -> str:
    from kwcolor_pipeline.networks.embeddings import EMBEDDING_VERSION

    return f"{EMBEDDING_VERSION} {_small_version()}"


def _comparison_version() -> str:
    from kwcolor_pipeline.networks.alignment import ALIGNMENT_VERSION

    return f"{ALIGNMENT_VERSION} {_small_version()}"


def _read_embeddings(folder: Path) -> dict[str, npt.NDArray[np.float16]]:
    table = _read(folder / "embeddings.parquet", _EMBEDDINGS, _embedding_version())
    vectors = (np.frombuffer(vector, dtype=np.float16) for vector in table["embedding"].to_pylist())
    return dict(zip(table["photo_id"].to_pylist(), vectors, strict=True))


def _write_embeddings(folder: Path, known: dict[str, npt.NDArray[np.float16]]) -> None:
    columns = {"photo_id": sorted(known), "embedding": [known[photo_id].tobytes() for photo_id in sorted(known)]}
    _write(folder / "embeddings.parquet", pa.table(columns, schema=_EMBEDDINGS), _embedding_version())


def _read_comparisons(folder: Path) -> dict[tuple[str, str], float]:
    table = _read(folder / "comparisons.parquet", _COMPARISONS, _comparison_version())
    pairs = zip(table["first"].to_pylist(), table["second"].to_pylist(), strict=True)
    return dict(zip(pairs, table["score"].to_pylist(), strict=True))


def _read(path: Path, schema: pa.Schema, version: str) -> pa.Table:
    """The table at ``path``; an empty one where there is none that this version wrote."""
    if path.exists():
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            log.warning("%s is damaged and is computed anew: %s", path, error)
        else:
            if table.schema.equals(_versioned(schema, version), check_metadata=True):
                return table
    return schema.empty_table()


def _write(path: Path, table: pa.Table, version: str) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({_VERSION_KEY: version.encode()}), temporary)


def _versioned(schema: pa.Schema, version: str) -> pa.Schema:
    return schema.with_metadata({_VERSION_KEY: version.encode()})
