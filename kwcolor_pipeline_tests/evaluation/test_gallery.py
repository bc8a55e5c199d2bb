"""The gallery page: links that work, nothing hostile, and the mark on every photograph."""

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from kwcolor_pipeline.evaluation.gallery import GalleryItem, write_gallery

_HOSTILE = '"><script>alert(1)</script>'


def _item(grey: Path, colour: Path, landing_url="https://example.org/1") -> GalleryItem:
    return GalleryItem(f"Bridge {_HOSTILE}", "July 1950", _HOSTILE, None, landing_url, grey, colour, 400, 300)


def test_links_are_relative_and_lead_to_the_files(tmp_path):
    folder = tmp_path / "gallery"
    beside, below = tmp_path / "photos" / "a #1?.jpg", folder / "in colour.jpg"
    for path in (beside, below):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    text = write_gallery(folder, [_item(beside, Path("in colour.jpg"))]).read_text()
    sources = re.findall(r'<img[^>]* src="([^"]+)"', text)
    assert len(sources) == 2
    assert all((folder / unquote(source)).exists() for source in sources)
    assert not any(str(tmp_path) in source for source in sources)


def test_every_photograph_is_marked_lazy_and_reachable_by_keyboard(tmp_path):
    text = write_gallery(tmp_path, [_item(Path("g.jpg"), Path("c.jpg"))] * 3, made_by="By v3.").read_text()
    assert text.count('<span class="tag right">colours inferred</span>') == 3
    assert text.count('loading="lazy"') == 6
    assert text.count('type="range"') == 3
    assert "By v3." in text
    assert "licence not stated" in text


def test_titles_are_escaped_and_only_the_pages_own_script_may_run(tmp_path):
    text = write_gallery(tmp_path, [_item(Path("g.jpg"), Path("c.jpg"), "javascript:alert(1)")]).read_text()
    assert "javascript:" not in text
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


@pytest.mark.parametrize(("sample", "announced"), [(True, True), (False, False)])
def test_sample_pictures_are_not_called_the_war(tmp_path, sample, announced):
    text = write_gallery(tmp_path, [], sample_pictures=sample).read_text()
    assert ("machinery, not quality" in text) == announced
    assert ("<h1>The Korean War" in text) != announced
    assert "There is no photograph here yet." in text
