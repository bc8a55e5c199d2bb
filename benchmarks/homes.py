"""Homes with photographs, crawled, deduplicated, curated and made into pairs, for benchmarks that train.

Belongs here: getting from a folder of photographs to pairs. What is trained on them does not.
"""

from pathlib import Path
from typing import Any

from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.photos.curation import curate
from kwcolor_pipeline.photos.manifest import crawl_partitions
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline.photos.pairs import make_pairs
from kwcolor_pipeline.settings import Settings, load_settings


def home_with_pairs(root: Path, photos: Path | None = None, **overrides: Any) -> Settings:
    """Settings of the home ``root`` with pairs of the photographs in ``photos``, or of those that the package brings.

    What is there already is taken as it is. ``overrides`` are settings.
    """
    sources = ["sample"] if photos is None else [f"folder:{photos}"]
    settings = load_settings(home=root, sources=sources, **overrides)
    opened = open_sources(settings.sources, settings, target=False)
    for year in crawl_partitions():
        crawl_partition(settings, opened, "crawled_photos", year)
    for step in (deduplicate, curate, make_pairs):
        step(settings)
    return settings
