"""A Python environment that has what a list of requirements asks for and nothing else, made of what is installed."""

import importlib.metadata
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement


def environment_with(requirements: Iterable[str], folder: Path) -> Path:
    """A virtual environment in ``folder``; gives its `bin`. Packages are links to those of this environment.

    Raises AssertionError where another version is required than is installed.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    installed = Path(sysconfig.get_path("purelib"))
    for distribution in _closure(requirements):
        tops = {Path(file).parts[0] for file in distribution.files or ()}
        for top in tops - {"..", "__pycache__"}:
            link = packages / top
            if not link.exists() and (installed / top).exists():
                link.symlink_to(installed / top)
        for command in distribution.entry_points.select(group="console_scripts"):
            script = folder / "bin" / command.name
            module, _, function = command.value.partition(":")
            script.write_text(
                f"#!{folder}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
            )
            script.chmod(0o755)
    return folder / "bin"


def _closure(requirements: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """The required distributions and those that they require in turn, extras included."""
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        distribution = importlib.metadata.distribution(wanted.name)
        version = distribution.version.partition("+")[0]
        assert wanted.specifier.contains(version, prereleases=True), f"{wanted} is required, {version} is installed"
        found[distribution.name] = distribution
        for extra in {"", *wanted.extras}:
            if (distribution.name, extra) in seen:
                continue
            seen.add((distribution.name, extra))
            for text in distribution.requires or ():
                required = Requirement(text)
                if required.marker is None or required.marker.evaluate({"extra": extra}):
                    waiting.append(required)
    return list(found.values())
