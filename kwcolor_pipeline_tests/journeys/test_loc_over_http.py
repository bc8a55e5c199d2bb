"""The source `loc` through the asset `crawled_photos`, against an imitation of the Library on the loopback."""

import dagster as dg
import pytest

from kwcolor_pipeline.assets.crawled_photos import crawled_photos
from kwcolor_pipeline.photos.manifest import Status, read_manifest
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline_tests.servers.loc_imitation import Library, Photo, serve


@pytest.fixture
def library():
    with serve(Library()) as library:
        yield library


@pytest.fixture
def crawl(library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(
        home=tmp_path / "home",
        sources=["loc"],
        contact="https://example.org/me",
        loc={
            "base_url": library.url,
            "collections": ["collections/test"],
            "requests_per_10s": 1000,
            "downloads_per_10s": 1000,
        },
        download={"attempts": 2, "connect_timeout": 2, "read_timeout": 2},
    )

    with dg.DagsterInstance.ephemeral() as instance:

        def run(year="1943", *more):
            settings.sources = ["loc", *more]
            result = dg.materialize(
                [crawled_photos],
                instance=instance,
                partition_key=year,
                resources={"settings": settings},
                raise_on_error=False,
            )
            (materialization,) = result.asset_materializations_for_node("crawled_photos")
            metadata = {name: value.value for name, value in materialization.metadata.items()}
            return result, metadata, materialization.tags["dagster/data_version"]

        yield run


def test_a_year_is_fetched_once_and_then_only_what_is_new(library, crawl):
    library.add(30)
    library.add(3, date="1941", years=(1941, 1941))
    result, metadata, version = crawl()
    assert result.success
    assert (metadata["listed"], metadata["stored"], metadata["downloaded_files"]) == (30, 30, 30)
    assert metadata["complete"] is True
    assert len(metadata["thumbnails"]) < 100_000

    library.forget()
    _, metadata, same_version = crawl()
    assert (metadata["stored"], metadata["downloaded_files"]) == (30, 0)
    assert library.pictures_asked() == {}
    assert same_version == version

    library.add(2)
    _, metadata, new_version = crawl()
    assert (metadata["stored"], metadata["downloaded_files"]) == (32, 2)
    assert new_version != version


def test_a_year_that_the_library_does_not_have_materializes_empty(library, crawl):
    library.add(2)
    result, metadata, _ = crawl("1942")
    assert result.success
    assert (metadata["listed"], metadata["stored"]) == (0, 0)


def test_a_library_that_is_down_is_told_and_fails_nothing_that_stands(library, crawl):
    library.add(3)
    _, _, version = crawl()
    library.bad_pages = {1: "denied"}
    result, metadata, same_version = crawl()
    assert result.success
    assert metadata["complete"] is False
    assert len(metadata["problems"]) == 1
    assert same_version == version


def test_pictures_that_are_none_fail_the_year_with_their_reasons(library, crawl, tmp_path):
    library.photos = [Photo("one", data=b"<html>sorry</html>"), Photo("two", behaviour="404")]
    result, metadata, _ = crawl()
    assert not result.success
    assert (metadata["listed"], metadata["stored"]) == (2, 0)
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert "not an image: 1" in check.description
    rows = read_manifest(tmp_path / "home" / "manifests" / "crawled_photos" / "1943.parquet")
    assert {row.status for row in rows} == {Status.REJECTED}


def test_a_source_that_lacks_its_key_makes_the_year_incomplete_and_no_more(library, crawl):
    library.add(3)
    result, metadata, _ = crawl("1943", "nara")
    assert result.success
    assert metadata["stored"] == 3
    assert metadata["complete"] is False
    (sentence,) = metadata["problems"]
    assert "KWCOLOR_NARA__API_KEY" in sentence


def test_requests_and_bytes_are_told_by_host(library, crawl):
    library.add(3)
    _, metadata, _ = crawl()
    host = library.url.partition("//")[2]
    (line,) = [line for line in metadata["hosts"].splitlines() if host in line]
    assert line.split("|")[2].strip() == "5"  # a listing, robots.txt, three pictures
