"""Where photographs come from: one module a source.

Belongs here: turning the settings' list of sources into sources. What a source does is in its module.
"""

from collections.abc import Sequence
from pathlib import Path

from kwcolor_pipeline.crawling.sources.base import Source
from kwcolor_pipeline.crawling.sources.folder import FolderSource
from kwcolor_pipeline.crawling.sources.loc import LocSource
from kwcolor_pipeline.crawling.sources.sample import SampleSource
from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions
from kwcolor_pipeline.settings import Settings, SettingsProblem

#: How each source is written in the settings.
NAMES = ("sample", "folder:PATH", "loc")


def open_sources(specs: Sequence[str], settings: Settings, target: bool) -> list[Source]:
    """The sources that ``specs`` names; with ``target`` those of the photographs to colorize.

    Raises SettingsProblem for an unknown name, a missing folder, or a network source without contact.
    """
    return [_open(spec, settings, target) for spec in dict.fromkeys(specs)]


def _open(spec: str, settings: Settings, target: bool) -> Source:
    partitions = korean_war_partitions() if target else crawl_partitions()
    kind, _, path = spec.partition(":")
    if spec == "sample":
        return SampleSource(partitions, target=target)
    if kind == "folder" and path:
        return FolderSource(Path(path).expanduser(), partitions)
    if spec == "loc":
        _require_contact(spec, settings)
        return LocSource(settings.loc, partitions, target=target)
    raise SettingsProblem(f"{spec!r} is not a source; sources are {', '.join(NAMES)}.")


def _require_contact(spec: str, settings: Settings) -> None:
    contact = (settings.contact or "").strip()
    if not contact or not contact.isascii() or not contact.isprintable():
        raise SettingsProblem(
            f"The source {spec} tells the archive who asks; set KWCOLOR_CONTACT to your e-mail or web address."
        )
