import pytest

from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline_tests.servers.loc_imitation import Library, serve


@pytest.fixture
def library():
    with serve(Library()) as library:
        yield library


@pytest.fixture
def settings_of(tmp_path, monkeypatch):
    """Settings for a crawl of a library, or of nothing on the network."""
    monkeypatch.chdir(tmp_path)

    def make(library=None, **groups):
        loc = {"collections": ["collections/test"], "requests_per_10s": 1000, "downloads_per_10s": 1000}
        if library:
            loc["base_url"] = library.url
        return load_settings(
            home=tmp_path / "home", contact="https://example.org/me", loc={**loc, **groups.pop("loc", {})}, **groups
        )

    return make


@pytest.fixture
def crawl(settings_of):
    """Crawl one year of a library."""

    def run(library, key="1943", **groups):
        settings = settings_of(library, **groups)
        return crawl_partition(settings, open_sources(["loc"], settings, False), "crawled_photos", key)

    return run
