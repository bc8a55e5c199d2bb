"""`kwcolor doctor`: what of this machine and of the settings would keep the pipeline from working.

Belongs here: one short check per thing, each of which finds and says and never repairs. How a
finding is printed does not.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kwcolor_pipeline.settings import Settings, SettingsProblem

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DISTRIBUTION = "kwcolor_pipeline"
_OLDEST_PYTHON = (3, 11)
_GIB = 2**30
#: Below these a demo run is likely to fail: it holds one network, its optimizer and a few batches.
_MEMORY_WANTED = 3 * _GIB
_DISK_WANTED = 5 * _GIB
_PICTURE_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``ok`` is None where it is neither right nor wrong, or not known."""

    name: str
    ok: bool | None
    says: str
    remedy: str | None = None


def diagnose(settings: Settings, *, online: bool = False) -> list[Finding]:
    """Look at everything; with ``online`` also whether the archives answer. Never raises."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("Python", _python),
        ("packages", _packages),
        ("device", lambda: _device(settings)),
        ("memory", _memory),
        ("disk", lambda: _disk(settings.paths.root)),
        ("home", lambda: _writable(settings.paths.root)),
        *([("shared store", lambda: _shared_store(settings))] if settings.shared_store else []),
        ("MLflow", lambda: _mlflow(settings)),
        ("Dagster", lambda: _dagster(settings)),
        ("encoder weights", _encoder_weights),
        *((f"source {spec}", _source_check(spec, settings, online)) for spec in _all_sources(settings)),
    ]
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    """A check that cannot be carried out is a finding too: the others still have to be told."""
    try:
        return check()
    except SettingsProblem as problem:
        return Finding(name, False, str(problem))
    except Exception as error:  # noqa: BLE001
        return Finding(name, False, f"the check itself failed: {type(error).__name__}: {error}")


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        wanted = ".".join(map(str, _OLDEST_PYTHON))
        return Finding("Python", False, f"{version}, {wanted} is needed", f"install Python {wanted} or newer")
    return Finding("Python", True, version)


def _packages() -> Finding:
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in importlib.metadata.requires(_DISTRIBUTION) or []]
    needed = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
    wrong = [f"{item.name} is {_installed(item.name)}, {item} is needed" for item in needed if not _satisfied(item)]
    if wrong:
        return Finding("packages", False, "; ".join(wrong), f"run `{sys.executable} -m pip install -U {_DISTRIBUTION}`")
    return Finding("packages", True, f"all {len(needed)} as required")


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _satisfied(requirement: "Requirement") -> bool:
    version = _installed(requirement.name)
    return version != "missing" and requirement.specifier.contains(version, prereleases=True)


def _device(settings: Settings) -> Finding:
    import torch

    from kwcolor_pipeline.networks.devices import pick_device

    device = pick_device(settings.device)
    if device.type == "cuda":
        index = device.index or 0
        memory = torch.cuda.get_device_properties(index).total_memory / _GIB
        return Finding(
            "device", True, f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB (torch {torch.__version__})"
        )
    if device.type == "mps":
        return Finding("device", True, f"Apple GPU (torch {torch.__version__})")
    return Finding("device", True, f"CPU, {torch.get_num_threads()} threads (torch {torch.__version__})")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    says = f"{memory.available / _GIB:.1f} GiB free of {memory.total / _GIB:.1f} GiB"
    if memory.available < _MEMORY_WANTED:
        return Finding("memory", False, says, f"close programs until {_MEMORY_WANTED / _GIB:.0f} GiB are free")
    return Finding("memory", True, says)


def _disk(home: Path) -> Finding:
    folder = _existing(home)
    free = shutil.disk_usage(folder).free
    says = f"{free / _GIB:.1f} GiB free at {folder}"
    if free < _DISK_WANTED:
        wanted = f"{_DISK_WANTED / _GIB:.0f} GiB"
        return Finding("disk", False, says, f"free {wanted} there or choose another folder with KWCOLOR_HOME")
    return Finding("disk", True, says)


def _writable(home: Path) -> Finding:
    """Write a file where the home is; where it would be created, in the nearest folder that exists."""
    folder = _existing(home)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".kwcolor-doctor-"):
            pass
    except OSError as error:
        says = f"{folder} cannot be written to: {error.strerror}"
        return Finding("home", False, says, "change its permissions or choose another folder with KWCOLOR_HOME")
    return Finding("home", True, str(home) if home.exists() else f"{home} will be created")


def _existing(path: Path) -> Path:
    """The path itself or the nearest of its parents that is there."""
    return next(candidate for candidate in [path, *path.parents] if os.path.lexists(candidate))


def _shared_store(settings: Settings) -> Finding:
    from kwcolor_pipeline.shared_store import SharedStore

    assert settings.shared_store is not None  # asked for only where it is set
    SharedStore(settings.shared_store, settings.paths.locks).check()
    return Finding("shared store", True, f"{settings.shared_store} can be written and read")


def _mlflow(settings: Settings) -> Finding:
    from kwcolor_pipeline.tracking.mlflow_tracking import database_problem, open_tracking, sqlite_path

    database = sqlite_path(settings.tracking_uri)
    if database is None:
        open_tracking(settings).check_reachable()
        return Finding("MLflow", True, "the server or database that the settings name answers")
    problem = database_problem(database)
    if problem:
        return Finding("MLflow", False, problem)
    return Finding("MLflow", True, f"{database} {'is sound' if database.exists() else 'will be created'}")


def _dagster(settings: Settings) -> Finding:
    from kwcolor_pipeline.tracking.mlflow_tracking import database_problem

    databases = sorted(settings.paths.dagster.rglob("*.db"))
    problems = [problem for problem in map(database_problem, databases) if problem]
    if problems:
        return Finding("Dagster", False, " ".join(problems))
    if not databases:
        return Finding("Dagster", True, f"{settings.paths.dagster} will be created")
    return Finding("Dagster", True, f"{len(databases)} databases in {settings.paths.dagster} are sound")


def _encoder_weights() -> Finding:
    from kwcolor_pipeline.networks.encoders import bundled_weights_file

    return Finding("encoder weights", True, str(bundled_weights_file()))


def _all_sources(settings: Settings) -> list[str]:
    return list(dict.fromkeys([*settings.sources, *settings.korean_war_sources]))


def _source_check(spec: str, settings: Settings, online: bool) -> Callable[[], Finding]:
    kind, _, rest = spec.partition(":")
    name = f"source {spec}"
    if kind == "sample":
        return lambda: _sample(name)
    if kind == "folder" and rest:
        return lambda: _folder(name, Path(rest).expanduser())
    return lambda: _archive(spec, settings, online)


def _sample(name: str) -> Finding:
    from kwcolor_pipeline.sample import read_index

    photos = read_index()
    missing = [str(photo.path) for photo in photos if not photo.path.is_file()]
    if missing:
        says = f"{len(missing)} of {len(photos)} pictures are missing: {', '.join(missing)}"
        return Finding(name, False, says, "install scikit-image, scikit-learn and matplotlib again")
    return Finding(name, True, f"{len(photos)} pictures")


def _folder(name: str, folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding(name, False, f"{folder} is not a folder", "create it or correct the setting")
    unreadable: list[OSError] = []
    walk = os.walk(folder, onerror=unreadable.append)
    count = sum(Path(file).suffix.lower() in _PICTURE_ENDINGS for _, _, files in walk for file in files)
    if unreadable:
        return Finding(name, False, f"{unreadable[0].filename} cannot be read", "change its permissions")
    if not count:
        return Finding(name, False, f"{folder} holds no pictures", "put photographs there or correct the setting")
    return Finding(name, True, f"{count} pictures in {folder}")


def _archive(spec: str, settings: Settings, online: bool) -> Finding:
    from kwcolor_pipeline.crawling.sources import NAMES, NETWORK_NAMES, contact_problem, network_source

    name = f"source {spec}"
    if spec not in NETWORK_NAMES:
        return Finding(name, False, "there is no such source", f"use {', '.join(NAMES)}")
    source = network_source(spec, settings, target=False)
    problem, remedy = source.problem(), contact_problem(settings)
    if remedy:
        return Finding(name, False, "no contact is set", f"{remedy}; the archive is told it")
    if problem:
        return Finding(name, False, problem)
    if not online:
        return Finding(name, None, f"{source.base_url} was not asked", "ask it with --online")
    return _answer(name, source.base_url, settings.contact)


def _answer(name: str, base_url: str, contact: str | None) -> Finding:
    import requests

    from kwcolor_pipeline.crawling.fetcher import identification

    try:
        answer = requests.get(base_url, timeout=10, stream=True, headers=identification(contact))
        answer.close()
    except requests.RequestException as error:
        says = f"{base_url} does not answer: {type(error).__name__}"
        return Finding(name, False, says, "check the network, or use other sources")
    if answer.status_code >= 500:
        return Finding(name, False, f"{base_url} answers with status {answer.status_code}", "try again later")
    return Finding(name, True, f"{base_url} answers")
