"""What is shown on an asset: it says the right numbers, and it is what the UI can draw."""

import base64
import re
from xml.etree import ElementTree

import dagster as dg

from kwcolor_pipeline.definitions import ASSETS
from kwcolor_pipeline.orchestration.metadata import bars, columns, count_table, curve
from kwcolor_pipeline.photos.manifest import SCHEMA

SVG = "{http://www.w3.org/2000/svg}"


def drawing(shown: dg.MetadataValue) -> ElementTree.Element:
    """The SVG of a Markdown picture."""
    (encoded,) = re.findall(r"!\[.*\]\(data:image/svg\+xml;base64,(.*)\)", str(shown.value))
    return ElementTree.fromstring(base64.b64decode(encoded))


def texts(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def test_bars_are_as_tall_as_their_counts_and_keep_their_order():
    svg = drawing(bars({"1941": {"kept": 30, "rejected": 10}, "1942": {"kept": 5, "rejected": 0}}, "years"))
    drawn = [rect for rect in svg.iter(f"{SVG}rect") if rect.get("width") == "12"]
    tall = [float(rect.get("height", "")) for rect in drawn]
    assert [height / tall[0] for height in tall] == [1, 10 / 30, 5 / 30]
    kept, rejected, other = drawn
    assert float(rejected.get("y", "")) + tall[1] == float(kept.get("y", ""))  # on top of it
    assert float(kept.get("y", "")) + tall[0] == float(other.get("y", "")) + tall[2]  # on one line
    assert (kept.get("x"), rejected.get("x"), other.get("x")) == ("6", "6", "22")
    assert kept.get("fill") == other.get("fill") != rejected.get("fill")
    assert texts(svg) == ["1941", "40", "1942", "5", "■ kept", "■ rejected"]


def test_bars_of_all_years_fit_into_the_drawing_and_stay_small():
    shown = bars({str(year): {"kept": 123_456, "rejected": 7_890} for year in range(1935, 1980)}, "years")
    svg = drawing(shown)
    assert max(float(rect.get("x", 0)) + 12 for rect in svg.iter(f"{SVG}rect")) <= float(svg.get("width", 0))
    assert len(str(shown.value)) < 30_000


def test_nothing_yet_is_drawn_and_said():
    assert texts(drawing(bars({}, "years"))) == []
    assert texts(drawing(curve([], ["ciede2000"]))) == []
    assert count_table({}, "reason").value == "none"


def test_a_curve_says_where_it_begins_and_ends():
    svg = drawing(curve([{"ciede2000": 12.5}, {"ciede2000": 9.0}, {"ciede2000": 10.25}], ["ciede2000"]))
    assert texts(svg) == ["ciede2000: 12.5 → 10.2"]
    (line,) = svg.iter(f"{SVG}polyline")
    heights = [float(point.partition(",")[2]) for point in line.get("points", "").split()]
    assert heights[0] < heights[2] < heights[1]  # SVG counts from the top


def test_every_column_of_the_manifests_is_explained():
    wanted = columns(SCHEMA)["dagster/column_schema"]
    assert [column.name for column in wanted.columns] == SCHEMA.names
    assert [column.name for column in wanted.columns if not column.description] == []
    shown = {
        spec.key.to_user_string(): spec.metadata.get("dagster/column_schema")
        for asset in ASSETS
        for spec in asset.specs
        if spec.partitions_def
    }
    assert shown == {"crawled_photos": wanted, "korean_war_photos": wanted}
