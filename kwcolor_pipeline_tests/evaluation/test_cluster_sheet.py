"""The page of clusters shows copies side by side, the best first, and nothing from outside."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from kwcolor_pipeline.evaluation.cluster_sheet import cluster_sheet_path, write_cluster_sheet
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, scene


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "img":
            self.pictures.append(found["alt"] or "")
            assert (found["src"] or "").startswith("data:image/webp")
        if tag == "a":
            self.links.append(found["href"] or "")
        self.scripts += tag == "script"


def test_copies_are_shown_with_the_best_first(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1, (400, 300))), title="<b>Bridge</b>", landing_url="https://archive.example/1")
    home.add(encoded(scene(1, (400, 300)).resize((120, 90))), landing_url="javascript:alert(1)")
    home.add(encoded(scene(2)), title="Alone")
    deduplicate(home.settings)
    path = write_cluster_sheet(home.settings.paths)
    assert path == cluster_sheet_path(home.settings.paths)
    html = path.read_text()
    page = Page(html)
    assert page.pictures == ["Best copy of <b>Bridge</b>", "Copy of <b>Bridge</b>"]
    assert page.links == ["https://archive.example/1"]
    assert page.scripts == 0
    assert "<b>Bridge</b>" not in html
    assert "Alone" not in html
    assert "3 photographs are 2 different ones" in html


def test_a_page_without_copies_says_so(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1)))
    deduplicate(home.settings)
    assert "No photograph has a copy." in write_cluster_sheet(home.settings.paths).read_text()
    with pytest.raises(FileNotFoundError, match="materialize deduplicated_photos"):
        write_cluster_sheet(PhotoHome(tmp_path / "other").settings.paths)
