"""Results that another program made: read from a folder, and the grey photographs written for it.

Belongs here: picture files under photographs' names. Any colorizer that takes and gives files can be compared
this way: `kwcolor baselines --export FOLDER`, the other program, then the folder of its results in the settings.
"""

import logging
import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kwcolor_pipeline.colorize.formats import photograph_files
from kwcolor_pipeline.home import Home, sha256_of, write_bytes
from kwcolor_pipeline.photos.encoding import png
from kwcolor_pipeline.photos.pairs import read_pairs
from kwcolor_pipeline.photos.store import EXTENSIONS
from kwcolor_pipeline.settings import SettingsProblem

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

#: Names of missing results that are told; more are counted.
_TOLD = 3
#: How far the shapes of a result and its photograph may be apart, as a ratio, beside a pixel of rounding.
_SHAPE_TOLERANCE = 0.01


def export_test_photographs(home: Home, folder: Path) -> int:
    """Write the grey test photographs as `<photo_id>.png` into ``folder``; how many there are.

    Raises SettingsProblem when there are no pairs yet, or when the folder cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsProblem(f"{folder} is a file; give a folder for the photographs.")
    count = 0
    try:
        for pair in read_pairs(home, "test"):
            write_bytes(folder / f"{pair.photo_id}.png", png(pair.gray))
            count += 1
    except FileNotFoundError as error:
        raise SettingsProblem("There are no pairs yet; run `kwcolor run --select grayscale_pairs` first.") from error
    except OSError as error:
        raise SettingsProblem(f"{folder} cannot be written to ({error.strerror}); give another folder.") from error
    return count


class FolderOfResults:
    """Gives the results that lie in a folder, by photo_id.

    Args:
        folder: picture files named `<photo_id>.png` or with another ending, also in folders below it.
        max_pixels: pictures with more are refused.

    Raises SettingsProblem when the folder does not exist, or when two files have one photograph's name.
    """

    def __init__(self, folder: Path, max_pixels: int):
        if not folder.is_dir():
            raise SettingsProblem(f"{folder} is not a folder of results; correct KWCOLOR_BASELINES__FOLDERS.")
        self._folder = folder
        self._max_pixels = max_pixels
        self._files: dict[str, Path] = {}
        for path in photograph_files([folder]):
            other = self._files.setdefault(path.stem, path)
            if other != path:
                raise SettingsProblem(f"{other} and {path} are both results for `{path.stem}`; remove one of them.")

    def check(self, photo_ids: Collection[str]) -> None:
        """Raise SettingsProblem with the names and number of those that have no result."""
        missing = [photo_id for photo_id in photo_ids if not self._names(photo_id) & self._files.keys()]
        if missing:
            told = ", ".join(f"{photo_id[:12]}…" if len(photo_id) > 13 else photo_id for photo_id in missing[:_TOLD])
            more = f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
            raise SettingsProblem(
                f"{self._folder} holds no result for {told}{more}; `kwcolor baselines --export FOLDER` writes the grey "
                "photographs to colorize, and results keep their names."
            )

    def __call__(self, gray: Pixels, photo_id: str) -> Pixels:
        """The result for the photograph uint8 (H, W), in its size: RGB uint8 (H, W, 3).

        One of another size is resized, which the log says.
        Raises SettingsProblem when there is none, when it cannot be read, or when it has another shape.
        """
        self.check([photo_id])
        path = self._files.get(photo_id) or self._files[Path(photo_id).stem]
        result = self._read(path)
        height, width = gray.shape
        if result.size == (width, height):
            return np.asarray(result)
        self._check_shape(path, result, height, width)
        log.warning("%s has %d x %d pixels and is resized to %d x %d", path, *result.size, width, height)
        return np.asarray(result.resize((width, height), Image.Resampling.LANCZOS))

    def hashes(self) -> dict[str, str]:
        """The sha256 of every file, by photo_id."""
        return {photo_id: sha256_of(path) for photo_id, path in sorted(self._files.items())}

    @staticmethod
    def _names(photo_id: str) -> set[str]:
        """What a result may be called: photographs of a folder are known by their file's name with its ending."""
        return {photo_id, Path(photo_id).stem}

    def _read(self, path: Path) -> Image.Image:
        try:
            with warnings.catch_warnings():
                # The limit below is the operator's own; Pillow's warning would name another one.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path, formats=list(EXTENSIONS)) as image:
                    if image.width * image.height > self._max_pixels:
                        raise SettingsProblem(
                            f"{path} has {image.width} x {image.height} pixels, more than "
                            "KWCOLOR_DOWNLOAD__MAX_PIXELS allows."
                        )
                    return image.convert("RGB")
        except SettingsProblem:
            raise
        except Exception as error:  # decoders raise anything on bytes made to break them
            raise SettingsProblem(f"{path} is a result that cannot be read as a picture; make it again.") from error

    @staticmethod
    def _check_shape(path: Path, result: Image.Image, height: int, width: int) -> None:
        ratio = (result.width / result.height) / (width / height)
        rounding = 1 / min(result.width, result.height) + 1 / min(width, height)
        if abs(ratio - 1) > _SHAPE_TOLERANCE + rounding:
            raise SettingsProblem(
                f"{path} has {result.width} x {result.height} pixels and its photograph {width} x {height}; a result "
                "has to show the whole photograph and nothing else."
            )
