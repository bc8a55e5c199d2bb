"""Where photographs come from: one module a source.

Belongs here: turning the settings' list of sources into sources. What a source does is in its module.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from kwcolor_pipeline.crawling.sources.base import PagedSource, Source
from kwcolor_pipeline.crawling.sources.commons import CommonsSource
from kwcolor_pipeline.crawling.sources.europeana import EuropeanaSource
from kwcolor_pipeline.crawling.sources.flickr import FlickrSource
from kwcolor_pipeline.crawling.sources.folder import FolderSource
from kwcolor_pipeline.crawling.sources.google import GoogleSource
from kwcolor_pipeline.crawling.sources.loc import LocSource
from kwcolor_pipeline.crawling.sources.nara import NaraSource
from kwcolor_pipeline.crawling.sources.sample import SampleSource
from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions
from kwcolor_pipeline.settings import Settings, SettingsProblem

#: Sources on the network: name to what opens it for some partitions.
_NETWORK: dict[str, Callable[[Settings, Sequence[str], bool], PagedSource]] = {
    "commons": lambda settings, partitions, target: CommonsSource(settings.commons, partitions, target=target),
    "loc": lambda settings, partitions, target: LocSource(settings.loc, partitions, target=target),
    "nara": lambda settings, partitions, target: NaraSource(settings.nara, partitions, target=target),
    "flickr": lambda settings, partitions, target: FlickrSource(settings.flickr, partitions, target=target),
    "europeana": lambda settings, partitions, target: EuropeanaSource(settings.europeana, partitions, target=target),
    "google": lambda settings, partitions, target: GoogleSource(settings.google, partitions, target=target),
}
NETWORK_NAMES = tuple(_NETWORK)
#: How each source is written in the settings.
NAMES = ("sample", "folder:PATH", *NETWORK_NAMES)


def open_sources(specs: Sequence[str], settings: Settings, target: bool) -> list[Source]:
    """The sources that ``specs`` names; with ``target`` those of the photographs to colorize.

    Raises SettingsProblem for an unknown name, a missing folder, or a network source without contact.
    """
    return [_open(spec, settings, target) for spec in dict.fromkeys(specs)]


def network_source(name: str, settings: Settings, target: bool) -> PagedSource:
    """The source of that name, to be looked at; only what :func:`open_sources` gives may be asked."""
    return _NETWORK[name](settings, korean_war_partitions() if target else crawl_partitions(), target)


def contact_problem(settings: Settings) -> str | None:
    """Why archives cannot be told who asks them, with the remedy; None where they can."""
    contact = (settings.contact or "").strip()
    if contact and contact.isascii() and contact.isprintable():
        return None
    return "set KWCOLOR_CONTACT to your e-mail or web address"


def _open(spec: str, settings: Settings, target: bool) -> Source:
    partitions = korean_war_partitions() if target else crawl_partitions()
    kind, _, path = spec.partition(":")
    if spec == "sample":
        return SampleSource(partitions, target=target)
    if kind == "folder" and path:
        return FolderSource(Path(path).expanduser(), partitions)
    if spec in _NETWORK:
        remedy = contact_problem(settings)
        if remedy:
            raise SettingsProblem(f"The source {spec} tells the archive who asks; {remedy}.")
        return network_source(spec, settings, target)
    raise SettingsProblem(f"{spec!r} is not a source; sources are {', '.join(NAMES)}.")
