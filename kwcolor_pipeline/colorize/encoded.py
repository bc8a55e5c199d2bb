"""Encoded pictures in, encoded pictures out: what a server is sent and what it answers.

Belongs here: base64, the limits of one request, one sentence for each picture that cannot be
colorized. Who listens does not, and how a file is read and marked is in ``files``.
"""

import base64
import binascii
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pydantic
from pydantic import ConfigDict
from pydantic_settings import BaseSettings, SettingsConfigDict

from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.colorize.files import colorized, write_colorized
from kwcolor_pipeline.colorize.merge import Colour
from kwcolor_pipeline.colorize.reading import UnreadablePhotograph, read_photograph
from kwcolor_pipeline.networks.bundle import read_bundle
from kwcolor_pipeline.settings import DownloadSettings, SettingsProblem

#: The most pictures that one request may hold.
MAX_PICTURES = 64
#: The longest side that a JPEG can have.
_JPEG_SIDE = 65500


class RefusedPictures(Exception):
    """A request that cannot be answered; the message has one sentence for each picture at fault."""


class _Limits(DownloadSettings):
    model_config = ConfigDict(extra="ignore")


class ServingSettings(BaseSettings):
    """The settings of whoever serves one model: KWCOLOR_DEVICE, KWCOLOR_DOWNLOAD__MAX_BYTES and …__MAX_PIXELS.

    A version is served by the code that it was registered with, which must not trip over settings of
    a later one. So these are read from the environment alone, and what is not known is left alone.
    """

    model_config = SettingsConfigDict(env_prefix="KWCOLOR_", env_nested_delimiter="__", extra="ignore")

    device: str = "auto"
    download: _Limits = _Limits()


class EncodedColorizer:
    """Colorizes pictures that are given and taken as base64.

    Args:
        colorize: the colorizer, or another with its way of being called.
        model: name of the model for the mark in each result.
        max_bytes: largest picture file that is accepted, in bytes.
        max_pixels: largest picture that is accepted, in pixels.
    """

    def __init__(self, colorize: Callable[..., Colour], model: str, max_bytes: int, max_pixels: int):
        self._colorize = colorize
        self._model = model
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        # A server answers requests in threads; two networks at once would be no faster and take twice the memory.
        self._alone = threading.Lock()

    def __call__(self, pictures: Sequence[str]) -> list[str]:
        """One base64 JPEG, upright and marked as colorized, for each base64 picture of a format that ``reading`` reads.

        A colour picture is colorized from its own lightness. All or none: raises RefusedPictures,
        with a sentence for each picture that is no base64, no picture, damaged or too large, and
        when there are more than MAX_PICTURES.
        """
        if len(pictures) > MAX_PICTURES:
            raise RefusedPictures(f"There are {len(pictures)} pictures; send at most {MAX_PICTURES} at once.")
        done: list[str] = []
        problems: list[str] = []
        for number, encoded in enumerate(pictures):
            try:
                with self._alone:
                    # Once something is refused the others are only looked at, so that all problems are told at once.
                    done += self._colorized(encoded, f"inputs[{number}]", only_look=bool(problems))
            except UnreadablePhotograph as error:
                problems.append(str(error))
        if problems:
            raise RefusedPictures(" ".join(problems))
        return done

    def _colorized(self, encoded: str, name: str, only_look: bool) -> list[str]:
        """The result, or nothing; it is written to a folder that is gone afterwards, since ``files`` takes files."""
        with TemporaryDirectory(prefix="kwcolor-") as folder:
            path = Path(folder) / "picture"
            path.write_bytes(self._decoded(encoded, name))
            try:
                photograph = replace(read_photograph(path, self._max_pixels), path=Path(name))
            except UnreadablePhotograph as error:
                raise UnreadablePhotograph(str(error).replace(str(path), name)) from error
            height, width = photograph.frames[0].shape
            if max(height, width) > _JPEG_SIDE:
                raise UnreadablePhotograph(
                    f"{name} has {width} x {height} pixels and the JPEG of the answer holds {_JPEG_SIDE} a side."
                )
            if only_look:
                return []
            result = path.with_suffix(".jpg")
            write_colorized(result, colorized(self._colorize, photograph, "jpg"), photograph, self._model)
            return [base64.b64encode(result.read_bytes()).decode()]

    def _decoded(self, encoded: str, name: str) -> bytes:
        too_large = UnreadablePhotograph(
            f"{name} has more than the {self._max_bytes:,} bytes that KWCOLOR_DOWNLOAD__MAX_BYTES allows."
        )
        # Four characters hold three bytes; a sixteenth more for line breaks, before anything is decoded.
        if len(encoded) * 12 > (self._max_bytes + 3) * 17:
            raise too_large
        try:
            data = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise UnreadablePhotograph(f"{name} is not base64 ({error}); send the picture's file as base64.") from error
        if len(data) > self._max_bytes:
            raise too_large
        return data


def open_encoded_colorizer(folder: Path) -> EncodedColorizer:
    """The colorizer of a model bundle, with the limits and the device that the environment asks for.

    Raises SettingsProblem for a folder that is no bundle and for a variable that cannot be used.
    """
    try:
        settings = ServingSettings()
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        variable = "KWCOLOR_" + "__".join(str(part) for part in first["loc"]).upper()
        raise SettingsProblem(f"{variable} (it is {first['input']!r}): {first['msg']}.") from error
    model = f"kwcolor, weights sha256 {read_bundle(folder).weights_sha256}"
    limits = settings.download
    return EncodedColorizer(
        open_colorizer(folder, settings.device), model, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels
    )
