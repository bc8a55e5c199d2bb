"""What the studio does: which models there are, and a photograph in their colours, to look at and to keep.

Belongs here: photographs, models and files. What the page looks like is in ``page``, who may ask in ``server``.
"""

import functools
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kwcolor_pipeline.colorize.engine import Colorizer, Rendering, open_colorizer
from kwcolor_pipeline.colorize.files import colorized, write_colorized
from kwcolor_pipeline.colorize.formats import SAME, ending_for
from kwcolor_pipeline.colorize.notes import notes_on
from kwcolor_pipeline.colorize.reading import Photograph, UnreadablePhotograph, read_photograph, shown
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.tracking.chosen_model import (
    STARTER_NAME,
    ChosenModel,
    has_registry,
    model_by_name,
    starter_model,
)
from kwcolor_pipeline.tracking.mlflow_tracking import CHAMPION, MODEL_NAME, Tracking, open_tracking

#: What a photograph is compared with where it is no model: itself in grey.
GREY = "grey"
#: Longest side of what is looked at, in pixels.
_LOOKED_AT = 1600
#: Networks that are kept in memory; each has about 100 MB.
_KEPT = 3

_open = functools.lru_cache(maxsize=_KEPT)(open_colorizer)


class Refused(Exception):
    """A photograph or a wish that cannot be served; the message is a sentence for the person."""


@dataclass(frozen=True)
class Look:
    """Two pictures of the same size to compare, and what is to be said about them."""

    left: Path
    right: Path
    says: str


class Studio:
    """Colorizes for everybody who has the page open; one photograph at a time is the caller's affair.

    ``folder`` has what was uploaded, and takes what is made; who empties it is the caller's affair too.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder.resolve()

    def models(self) -> dict[str, str]:
        """What can colorize: the names that `--model` takes and what people call them, what it takes by itself first.

        That is the champion, or the starter while there is none.
        """
        starter = {STARTER_NAME: "The starter"}
        if not has_registry(self._settings):
            return starter
        champion: dict[str, str] = {}
        others: dict[str, str] = {}
        for version in self._tracking.versions():
            name, title = f"models:/{MODEL_NAME}/{version.number}", f"Version {version.number}"
            if CHAMPION in version.aliases:
                champion[name] = f"{title}, the champion"
            else:
                others[name] = title
        return champion | starter | others

    def look(self, path: Path, wanted: str, against: str, strength: float) -> Look:
        """The photograph in grey or as one model colours it, and as the wanted one does, no larger than a screen.

        Raises Refused.
        """
        photograph = self._read(path)
        frame = _shrunk(photograph)
        left = frame if against == GREY else self._colours(frame, photograph, against, strength)
        right = self._colours(frame, photograph, wanted, strength)
        height, width = photograph.frames[0].shape
        says = [f"{path.name}: {width} × {height} pixels, {photograph.depth} bits."]
        says += [note.replace(shown(path), "It", 1) for note in notes_on(photograph)]
        return Look(self._written(left, photograph, against), self._written(right, photograph, wanted), " ".join(says))

    def result(self, path: Path, wanted: str, strength: float) -> Path:
        """The file that `kwcolor colorize` would write, with the stem of the photograph's. Raises Refused."""
        photograph = self._read(path)
        model = self._model(wanted)
        ending = ending_for(path, SAME)
        final = self._new_folder() / f"{path.stem}.{ending}"
        try:
            pages = colorized(self._colorizer(model), photograph, ending, _rendering(strength))
            write_colorized(final, pages, photograph, model.name)
        except UnreadablePhotograph as error:
            raise Refused(_without_folder(error, path)) from error
        except OSError as error:
            raise Refused(f"{path.name} cannot be written: {error.strerror or error}.") from error
        except (MemoryError, RuntimeError) as error:
            raise _no_memory(error, path) from error
        return final

    @functools.cached_property
    def _tracking(self) -> Tracking:
        tracking = open_tracking(self._settings)
        tracking.prepare()
        return tracking

    def _model(self, wanted: str) -> ChosenModel:
        try:
            if wanted == STARTER_NAME:
                return starter_model()
            if not has_registry(self._settings):
                raise Refused("There are no versions here, only the starter.")
            return model_by_name(wanted, self._tracking, self._settings)
        except SettingsProblem as error:
            raise Refused(str(error)) from error

    def _colorizer(self, model: ChosenModel) -> Colorizer:
        return _open(model.folder, self._settings.device)

    def _read(self, path: Path) -> Photograph:
        if not path.resolve().is_relative_to(self._folder):
            raise Refused(f"{path.name} was not dropped in here.")
        if not path.exists():
            raise Refused(f"{path.name} is not here any more; drop it in again.")
        try:
            return read_photograph(path, self._settings.colorize.max_pixels, "KWCOLOR_COLORIZE__MAX_PIXELS")
        except UnreadablePhotograph as error:
            raise Refused(_without_folder(error, path)) from error

    def _colours(
        self, frame: NDArray[np.uint8], photograph: Photograph, wanted: str, strength: float
    ) -> NDArray[np.uint8]:
        colorizer = self._colorizer(self._model(wanted))
        try:
            return np.asarray(colorizer(frame, _rendering(strength), depth=8, space=photograph.space), np.uint8)
        except (MemoryError, RuntimeError) as error:
            raise _no_memory(error, photograph.path) from error

    def _written(self, pixels: NDArray[np.uint8], photograph: Photograph, wanted: str) -> Path:
        """A JPEG of what is looked at; in colour with the marks, since it can be kept as well."""
        folder = self._new_folder()
        if wanted == GREY:
            path = folder / f"{photograph.path.stem}-grey.jpg"
            Image.fromarray(pixels).save(path, quality=92)
        else:
            path = folder / f"{photograph.path.stem}-colour.jpg"
            write_colorized(path, pixels, photograph, self._model(wanted).name)
        return path

    def _new_folder(self) -> Path:
        """A folder whose name nobody guesses, because whoever knows it can look into it."""
        folder = self._folder / "made" / secrets.token_urlsafe(18)
        folder.mkdir(parents=True)
        return folder


def _rendering(strength: float) -> Rendering:
    try:
        return Rendering(strength=strength)
    except SettingsProblem as error:
        raise Refused(str(error)) from error


def _shrunk(photograph: Photograph) -> NDArray[np.uint8]:
    """The first page in grey, no larger than what is looked at."""
    image = Image.fromarray(photograph.gray)
    image.thumbnail((_LOOKED_AT, _LOOKED_AT), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _without_folder(error: UnreadablePhotograph, path: Path) -> str:
    """The sentence with the photograph's name as the person knows it."""
    return str(error).replace(shown(path), shown(Path(path.name)))


def _no_memory(error: Exception, path: Path) -> Exception:
    """The refusal of a photograph that is too large for this machine; what is something else stays what it is."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "memory" in str(error):
        return Refused(f"{path.name} needs more memory than there is.")
    return error
