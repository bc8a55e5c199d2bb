"""All sources at a glance, for people who choose among them.

Belongs here: what `kwcolor sources` says of each. Opening and asking them does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kwcolor_pipeline.crawling.sources import NETWORK_NAMES, contact_problem, network_source
from kwcolor_pipeline.crawling.sources.base import Source
from kwcolor_pipeline.crawling.sources.folder import FolderSource
from kwcolor_pipeline.crawling.sources.sample import SampleSource
from kwcolor_pipeline.photos.manifest import UNDATED, crawl_partitions
from kwcolor_pipeline.settings import Settings


@dataclass(frozen=True)
class SourceFacts:
    """What there is to know about a source before it is used."""

    name: str
    """as it is written in the settings"""
    about: str
    years: str
    """the years that it covers, and what they mean"""
    limits: str
    """how listings and pictures are asked for"""
    licences: str
    in_use: bool
    """whether the settings name it"""
    missing: str | None
    """what it needs and how to get it; None where it can be used"""


def describe_sources(settings: Settings) -> list[SourceFacts]:
    """All sources under ``settings``; asks no network.

    Raises SettingsProblem where a source's own settings cannot be used.
    """
    used = {spec.partition(":")[0] for spec in (*settings.sources, *settings.korean_war_sources)}
    partitions = crawl_partitions()
    sample = SampleSource(partitions, target=False)
    facts = [
        SourceFacts("sample", sample.about, _years(sample), "", sample.licence_rule, "sample" in used, None),
        SourceFacts(
            "folder:PATH",
            FolderSource.about,
            "any, when they were taken",
            "",
            FolderSource.licence_rule,
            "folder" in used,
            None,
        ),
    ]
    for name in NETWORK_NAMES:
        source = network_source(name, settings, target=False)
        limits = f"listings: {source.page_limits}; pictures: {source.picture_limits}"
        missing = "\n".join(filter(None, [contact_problem(settings), source.problem()])) or None
        facts.append(
            SourceFacts(name, source.about, _years(source), limits, source.licence_rule, name in used, missing)
        )
    return facts


def _years(source: Source) -> str:
    covered = source.covers(crawl_partitions())
    years = _ranges(sorted(int(key) for key in covered if key != UNDATED))
    dated = ", ".join([*years, *([UNDATED] if UNDATED in covered else [])])
    return f"{dated}, when they were {source.year_meaning}"


def _ranges(years: Iterable[int]) -> list[str]:
    """``1939 to 1941, 2005`` of single years in order."""
    spans: list[list[int]] = []
    for year in years:
        if spans and spans[-1][-1] == year - 1:
            spans[-1].append(year)
        else:
            spans.append([year])
    return [str(span[0]) if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans]
