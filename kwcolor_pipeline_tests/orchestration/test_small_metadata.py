"""What is written beside an asset stays small whatever happened, and says what it leaves out."""

import base64
import datetime

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.assets.crawl_result import describe_crawl
from kwcolor_pipeline.crawling.crawl import CrawlReport
from kwcolor_pipeline.crawling.requesting import HostTraffic
from kwcolor_pipeline.orchestration.checks import stored_some
from kwcolor_pipeline.orchestration.metadata import (
    bars,
    count_table,
    curve,
    file_picture,
    most_frequent,
    page,
    some_of,
    table,
    thumbnail_sheet,
)
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, write_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline_tests.photos.pictures import encoded

#: What Dagster's database may get for one event.
LARGEST_EVENT = 200 * 1024
MANY = 100_000
LONG = "The listing https://example.org/?page=1 could not be read (" + "very " * 20_000 + "long); crawl 1943 again."


def size_of(metadata):
    """Bytes of the event that holds this metadata, as Dagster stores it."""
    return len(dg.serialize_value(dg.AssetMaterialization("asset", metadata=metadata)).encode())


@pytest.mark.parametrize(
    "built",
    [
        pytest.param(lambda: {"sentences": dg.MetadataValue.json(some_of([LONG] * MANY))}, id="sentences"),
        pytest.param(lambda: {"counts": count_table({f"{n} {LONG}": n for n in range(1000)}, "reason")}, id="counts"),
        pytest.param(lambda: {"many": count_table({f"r{n}": n for n in range(MANY)}, "reason")}, id="many counts"),
        pytest.param(lambda: {"rows": table([{"host": f"{n}.org", "asked": n} for n in range(MANY)])}, id="many rows"),
        pytest.param(lambda: {"cells": table([{"host": LONG, "asked": 1.5}] * 50)}, id="long cells"),
        pytest.param(
            lambda: {"curve": curve([{"a": n % 7, "b": n, "c": 1 / (n + 1)} for n in range(MANY)], ["a", "b", "c"])},
            id="epochs",
        ),
        pytest.param(lambda: {"bars": bars({f"{n}": {"kept": n, "rejected": n} for n in range(MANY)}, "")}, id="bars"),
        pytest.param(lambda: {"report": page("\n".join(["| photograph | 1.0 |"] * MANY))}, id="report"),
    ],
)
def test_every_builder_stays_small(built):
    assert size_of(built()) < LARGEST_EVENT / 2


def test_sentences_that_are_left_out_are_counted_and_long_ones_keep_their_remedy():
    assert some_of(["one", "two"]) == ["one", "two"]
    shown = some_of([f"sentence {number}" for number in range(25)])
    assert shown[:20] == [f"sentence {number}" for number in range(20)]
    assert shown[20:] == ["… and 5 more."]
    (short,) = some_of([LONG])
    assert short.startswith("The listing https://example.org/?page=1 could not be read")
    assert short.endswith("long); crawl 1943 again.")


def test_small_counts_are_added_up_and_none_is_lost():
    counts = {f"reason {number}": number for number in range(200)}
    largest = most_frequent(counts)
    assert len(largest) == 50
    assert next(iter(largest)) == "reason 199"
    assert sum(largest.values()) == sum(counts.values())
    assert list(largest)[-1] == "151 others"
    assert most_frequent({"a": 1, "b": 2}) == {"b": 2, "a": 1}


def test_a_long_table_says_how_many_rows_it_leaves_out():
    text = table([{"host": f"host{number}"} for number in range(60)]).value
    assert "host49" in text
    assert "host50" not in text
    assert text.endswith("… and 10 more.")


def svg_of(history):
    text = curve(history, ["loss"]).value
    return base64.b64decode(text.partition("base64,")[2].removesuffix(")")).decode()


def points_of(svg):
    return svg.partition('points="')[2].partition('"')[0].split()


def test_a_long_curve_keeps_its_end_and_a_short_one_all_its_points():
    points = points_of(svg_of([{"loss": float(number)} for number in range(10)]))
    assert len(points) == 10
    assert points[0].startswith("10.0,")
    many = svg_of([{"loss": float(number)} for number in range(MANY)])
    points = points_of(many)
    assert 100 < len(points) <= 300
    assert points[-1] == "410.0,10.0"
    assert "0 → 1e+05" in many


def test_a_large_file_is_no_thumbnail(tmp_path):
    small, large = tmp_path / "preview.webp", tmp_path / "original.webp"
    small.write_bytes(b"webp")
    large.write_bytes(bytes(1_000_000))
    assert set(file_picture(small, "text")) == {"preview"}
    assert file_picture(large, "text") == {}


def noise(seed):
    return encoded(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (128, 128, 3), np.uint8)))


@pytest.fixture
def crawled_badly(tmp_path):
    """What a crawl says of a year in which everything went wrong, many times over, in long words."""
    store, manifest = PhotoStore(tmp_path / "photos"), tmp_path / "1943.parquet"
    now = datetime.datetime.now(datetime.UTC)
    rows = [
        ManifestRow(
            photo_id=store.put(noise(seed), "JPEG"),
            source="loc",
            source_id=str(seed),
            file_url=f"https://example.org/{seed}.jpg",
            retrieved_at=now,
            status=Status.STORED,
        )
        for seed in range(30)
    ]
    write_manifest(manifest, rows)
    return CrawlReport(
        asset="crawled_photos",
        key="1943",
        rows=2 * MANY,
        listed=2 * MANY,
        stored=0,
        rejected={f"reason_{number}": number for number in range(2000)},
        failed=MANY,
        downloaded=MANY,
        bytes=10**12,
        data_version="0" * 64,
        manifest=manifest,
        incomplete=[LONG] * 20_000,
        hosts={f"host{number}.example.org": HostTraffic(requests=number) for number in range(MANY)},
        listing_fingerprint=None,
    )


def test_a_crawl_in_which_everything_went_wrong_is_told_in_small_events(crawled_badly, tmp_path):
    logged = []

    class Log:
        warning = info = staticmethod(logged.append)

    class Context:
        log = Log()

    result = describe_crawl(Context(), crawled_badly, Settings(home=tmp_path))  # type: ignore[arg-type]
    assert "thumbnails" in result.metadata
    assert size_of(result.metadata) < LARGEST_EVENT
    assert "host99999.example.org" in result.metadata["hosts"].value
    assert len(result.metadata["problems"].value) == 21
    assert len(logged) == 21
    assert max(map(len, logged)) < 1000
    (check,) = result.check_results
    assert not check.passed
    assert size_of(check.metadata) + len(check.description) < LARGEST_EVENT / 2


def test_a_thumbnail_sheet_of_pure_noise_stays_small(tmp_path):
    store = PhotoStore(tmp_path / "photos")
    sheet = thumbnail_sheet(store, [store.put(noise(seed), "JPEG") for seed in range(30)])
    assert 10_000 < size_of(sheet) < LARGEST_EVENT / 2


def test_a_check_names_the_most_frequent_reasons():
    check = stored_some("crawled_photos", 10, 0, {"http_404": 7, "too_large": 3})
    assert "(http 404: 7, too large: 3)" in (check.description or "")
    assert "| http_404 | 7 |" in check.metadata["reasons"].value
