"""Which colorizers there are to compare with, how each is had, and opening those that the settings name.

Belongs here: names, what is said about them, and the one interface: a colorizer takes a grey picture and its
photo_id and gives colours. What computes them is in the other modules of this room, imported when it is needed.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwcolor_pipeline.baselines.onnx_runtime import INSTALL, onnxruntime_is_installed
from kwcolor_pipeline.baselines.published import ARTISTIC, STABLE, Published
from kwcolor_pipeline.home import fingerprint, sha256_of
from kwcolor_pipeline.settings import Settings, SettingsProblem

Pixels = NDArray[np.uint8]
#: Takes grey uint8 (H, W) and the photo_id, gives RGB uint8 (H, W, 3).
Colorize = Callable[[Pixels, str], Pixels]

#: Raise it when the same files and settings would give other colours.
CODE_VERSION = "1"

DEOLDIFY_ARTISTIC = "DeOldify artistic"
DEOLDIFY_STABLE = "DeOldify stable"
DEOLDIFY_ONNX = "DeOldify ONNX"
DDCOLOR = "DDColor"
#: Names that a folder of results cannot have.
_TAKEN = (DEOLDIFY_ARTISTIC, DEOLDIFY_STABLE, DEOLDIFY_ONNX, DDCOLOR)


@dataclass(frozen=True)
class Baseline:
    """A colorizer to compare with.

    Attributes:
        name: what it is called in tables.
        about: one sentence on what it is.
        missing: one sentence on how to get it; None where it is available.
        wanted: whether the settings name it.
        uses: what its colours depend on, where it is available: contents of files, and settings.
        open: makes the colorizer for the photographs with these photo_ids. Raises SettingsProblem where its
            file cannot be used, or where it has nothing for one of them.
    """

    name: str
    about: str
    missing: str | None
    wanted: bool
    uses: Callable[[], dict[str, Any]]
    open: Callable[[Collection[str]], Colorize]

    @property
    def available(self) -> bool:
        return self.missing is None


def available_baselines(settings: Settings) -> list[Baseline]:
    """Every baseline there is, in the order of tables: available, or with the way to get it. Opens none.

    Raises SettingsProblem when a folder of results has the name of another baseline.
    """
    named = settings.baselines
    return [
        _deoldify(settings, DEOLDIFY_ARTISTIC, "the colourful network", named.deoldify_artistic, ARTISTIC),
        _deoldify(settings, DEOLDIFY_STABLE, "the calmer, larger network", named.deoldify_stable, STABLE),
        _deoldify_onnx(settings),
        _ddcolor(settings),
        *(_folder(settings, name, folder) for name, folder in named.folders.items()),
    ]


def open_baselines(settings: Settings, photo_ids: Collection[str] = ()) -> dict[str, Colorize]:
    """The baselines that the settings name, opened, by name and in the order of tables.

    ``photo_ids``: the photographs that they are going to be asked for; a folder has to hold a result for each.
    Raises SettingsProblem when one that is named is not available or cannot be used: a comparison that was
    asked for shall not be left out quietly.
    """
    opened = {}
    for baseline in available_baselines(settings):
        if baseline.wanted and baseline.missing:
            raise SettingsProblem(f"{baseline.name} cannot be compared with: {baseline.missing}")
        if baseline.wanted:
            opened[baseline.name] = baseline.open(photo_ids)
    return opened


def baselines_fingerprint(settings: Settings) -> str:
    """Hash of what the named baselines' colours depend on. ONNX files and folders are read for it."""
    named = [baseline for baseline in available_baselines(settings) if baseline.wanted and baseline.available]
    return fingerprint({"code": CODE_VERSION, "baselines": [[baseline.name, baseline.uses()] for baseline in named]})


def _variable(field: str) -> str:
    return f"KWCOLOR_BASELINES__{field.upper()}"


def _given(path: Path | None) -> Path:
    if path is None:
        raise ValueError("only an available baseline can be opened or hashed")
    return path


def _missing_file(field: str, path: Path | None, what: str) -> str | None:
    """The sentence that says how to get a file; None where it is there."""
    if path is None:
        return f"Get {what}, and set {_variable(field)} to its path."
    if not path.is_file():
        return f"{_variable(field)} names {path}, which is no file; get {what}, or unset it."
    return None


def _missing_export(field: str, path: Path | None, what: str) -> str | None:
    """The same for an ONNX file, which also needs onnxruntime."""
    missing = _missing_file(field, path, what)
    if onnxruntime_is_installed():
        return missing
    return f"{missing[:-1]}, and install onnxruntime with `{INSTALL}`." if missing else f"Run `{INSTALL}`."


def _deoldify(settings: Settings, name: str, which: str, path: Path | None, published: Published) -> Baseline:
    field = "deoldify_artistic" if published is ARTISTIC else "deoldify_stable"
    what = f"`{published.file}` (sha256 {published.sha256}) from the project jantic/DeOldify"
    return Baseline(
        name,
        f"DeOldify, {which}, from its own weight file.",
        _missing_file(field, path, what),
        wanted=path is not None,
        # No other file is opened, so its published hash stands for its content.
        uses=lambda: {"sha256": published.sha256, "render_factor": settings.baselines.render_factor},
        open=lambda _: _open_deoldify(settings, _given(path), published),
    )


def _open_deoldify(settings: Settings, path: Path, published: Published) -> Colorize:
    from kwcolor_pipeline.baselines.deoldify import DeOldify
    from kwcolor_pipeline.baselines.deoldify_network import artistic, stable
    from kwcolor_pipeline.baselines.deoldify_weights import load_published
    from kwcolor_pipeline.networks.devices import pick_device

    device = pick_device(settings.device)
    network = load_published(path, published, artistic if published is ARTISTIC else stable)
    return DeOldify(network.to(device), device, settings.baselines.render_factor)


def _deoldify_onnx(settings: Settings) -> Baseline:
    named = settings.baselines
    path = named.deoldify_onnx
    what = "an ONNX export of one of DeOldify's networks, as instant-high/deoldify-onnx makes it"

    def open_it(_: Collection[str]) -> Colorize:
        from kwcolor_pipeline.baselines.onnx_colorizers import OnnxDeOldify

        return OnnxDeOldify(_given(path), named.deoldify_onnx_values, named.render_factor, settings.device)

    return Baseline(
        DEOLDIFY_ONNX,
        "DeOldify, either network, from an ONNX export.",
        _missing_export("deoldify_onnx", path, what),
        wanted=path is not None,
        uses=lambda: {
            "sha256": sha256_of(_given(path)),
            "values": named.deoldify_onnx_values,
            "render_factor": named.render_factor,
        },
        open=open_it,
    )


def _ddcolor(settings: Settings) -> Baseline:
    path = settings.baselines.ddcolor_onnx
    what = "an ONNX export of DDColor, as `scripts/export_onnx.py` of the project piddnad/DDColor makes it"

    def open_it(_: Collection[str]) -> Colorize:
        from kwcolor_pipeline.baselines.onnx_colorizers import OnnxDDColor

        return OnnxDDColor(_given(path), settings.device)

    return Baseline(
        DDCOLOR,
        "DDColor, tiny or large, from an ONNX export.",
        _missing_export("ddcolor_onnx", path, what),
        wanted=path is not None,
        uses=lambda: {"sha256": sha256_of(_given(path))},
        open=open_it,
    )


def _folder(settings: Settings, name: str, folder: Path) -> Baseline:
    if name in _TAKEN:
        raise SettingsProblem(f"`{name}` is another baseline's name; name the folder {folder} differently.")
    missing = None
    if not folder.is_dir():
        missing = (
            f"{_variable('folders')} names {folder}, which is no folder; let `kwcolor baselines --export FOLDER` write "
            "the grey photographs, colorize them with any program, and name the folder of its results."
        )

    def open_it(photo_ids: Collection[str]) -> Colorize:
        from kwcolor_pipeline.baselines.results import FolderOfResults

        results = FolderOfResults(folder, settings.download.max_pixels)
        results.check(photo_ids)
        return results

    def uses() -> dict[str, Any]:
        from kwcolor_pipeline.baselines.results import FolderOfResults

        return FolderOfResults(folder, settings.download.max_pixels).hashes()

    return Baseline(name, f"Results of another program in {folder}.", missing, wanted=True, uses=uses, open=open_it)
