"""What archives' words about an original say of its tone."""

import pytest

from kwcolor_pipeline.crawling.sources.folder import FolderSource
from kwcolor_pipeline.crawling.sources.reading import catalogued_tone
from kwcolor_pipeline.photos.manifest import crawl_partitions


@pytest.mark.parametrize(
    ("described", "tone"),
    [
        (("1 transparency : color.",), "colour"),
        (("1 slide : colour",), "colour"),
        (("Category:Color photographs from the Farm Security Administration", None), "colour"),
        (("Kodachromes",), "colour"),
        (("1 negative : b&w ; 4 x 5 inches",), "bw"),
        (("Black-and-white photographs of Korea",), "bw"),
        (("bw",), "bw"),
        (("1 photographic print : hand-colored",), None),
        (("Colorized photographs",), None),
        (("1 print : b&w, with a color reproduction",), None),
        ((None, ""), None),
    ],
)
def test_the_original_is_what_the_words_say_when_they_say_one_thing(described, tone):
    assert catalogued_tone(*described) == tone


def test_a_folders_index_may_say_the_tone(tmp_path):
    (tmp_path / "index.csv").write_text("file,id,tone\na.jpg,1,bw\nb.jpg,2,colour\nc.jpg,3,\n")
    found = {
        one.source_id: one.catalogued_tone for one in FolderSource(tmp_path, crawl_partitions()).candidates("undated")
    }
    assert found == {"1": "bw", "2": "colour", "3": None}
