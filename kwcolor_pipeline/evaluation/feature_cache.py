"""Features and metrics of photographs and of their grey copies, kept from one evaluation to the next.

Belongs here: the file and when what is in it still holds. What is measured is the evaluation's affair.
"""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kwcolor_pipeline.home import atomic_path
from kwcolor_pipeline.networks.features import Matrix, Picture

log = logging.getLogger(__name__)

_FILE = "features.parquet"
_VERSION_KEY = b"kwcolor_version"
#: Named as a table names it that was read from a file, so that both schemas are equal.
_NUMBERS = pa.list_(pa.field("element", pa.float64()))


class Known(NamedTuple):
    """Features (n,) of a photograph in grey and in colour, and metrics (m,) of both against the colour."""

    grey: Matrix
    truth: Matrix
    grey_metrics: Matrix
    truth_metrics: Matrix


class FeatureCache:
    """One file in a folder, keyed by photo_id: what an evaluation asked for, and no more.

    An entry holds for exactly the pixels that it was made from, so pairs of another size or another decolorizer
    are measured anew; so is everything where ``version`` is another than the file's, or where the file is damaged.
    ``version`` names what the numbers depend on besides the pictures, as ``evaluate.measures_version`` does. A
    photograph that the last evaluation did not see is forgotten.
    """

    def __init__(self, folder: Path, version: str):
        self._path = folder / _FILE
        self._version = version
        self._found = self._read()
        self._used: dict[str, tuple[bytes, Known]] = {}

    def known(self, photo_id: str, gray: NDArray[np.uint8], truth: Picture) -> Known | None:
        """What is known of this photograph with these pixels; None where they have to be measured."""
        entry = self._found.get(photo_id)
        if entry is None or entry[0] != _pixels(gray, truth):
            return None
        self._used[photo_id] = entry
        return entry[1]

    def add(self, photo_id: str, gray: NDArray[np.uint8], truth: Picture, measured: Known) -> None:
        """Remember what was measured; :meth:`save` writes it."""
        self._used[photo_id] = (_pixels(gray, truth), measured)

    def save(self) -> None:
        """Write what this evaluation used, atomically; nothing where the file has exactly that."""
        if self._used.keys() == self._found.keys() and all(
            self._used[photo_id] is entry for photo_id, entry in self._found.items()
        ):
            return
        rows = sorted(self._used.items())
        columns = {
            "photo_id": pa.array([photo_id for photo_id, _ in rows], pa.string()),
            "pixels": pa.array([pixels for _, (pixels, _) in rows], pa.binary()),
            **{
                name: pa.array([getattr(measured, name) for _, (_, measured) in rows], _NUMBERS)
                for name in Known._fields
            },
        }
        with atomic_path(self._path) as temporary:
            pq.write_table(pa.table(columns, self._schema()), temporary, write_page_checksum=True)

    def _schema(self) -> pa.Schema:
        fields = [("photo_id", pa.string()), ("pixels", pa.binary()), *((name, _NUMBERS) for name in Known._fields)]
        return pa.schema(fields, metadata={_VERSION_KEY: self._version.encode()})

    def _read(self) -> dict[str, tuple[bytes, Known]]:
        try:
            table = pq.read_table(self._path, page_checksum_verification=True)
        except FileNotFoundError:
            return {}
        except (pa.ArrowException, OSError) as error:
            log.warning("%s is damaged and is measured anew: %s", self._path, error)
            return {}
        if not table.schema.equals(self._schema(), check_metadata=True):
            return {}
        ids, pixels = table["photo_id"].to_pylist(), table["pixels"].to_pylist()
        columns = [_vectors(table[name]) for name in Known._fields]
        return {
            photo_id: (digest, Known(*vectors))
            for photo_id, digest, *vectors in zip(ids, pixels, *columns, strict=True)
        }


def _vectors(column: pa.ChunkedArray) -> list[Matrix]:
    return [scalar.values.to_numpy() for scalar in column]


def _pixels(gray: NDArray[np.uint8], truth: Picture) -> bytes:
    digest = hashlib.blake2b(str(truth.shape).encode(), digest_size=16)
    digest.update(gray.tobytes())
    digest.update(truth.tobytes())
    return digest.digest()
