import subprocess
import sys

import pytest
from PIL import Image

from kwcolor_pipeline.photos.manifest import crawl_partitions
from kwcolor_pipeline.photos.store import EXTENSIONS
from kwcolor_pipeline.sample import Role, SamplePhoto, read_index


@pytest.mark.parametrize("photo", read_index(), ids=lambda photo: photo.id)
def test_every_picture_is_there_and_decodes(photo):
    with Image.open(photo.path) as image:
        image.load()
        assert image.format in EXTENSIONS
        assert (photo.role == Role.TARGET) <= (image.mode == "L")
        assert (photo.role == Role.COLOUR) <= (image.mode == "RGB")


def test_ids_and_files_are_unique_and_facts_are_given():
    photos = read_index()
    assert len({photo.id for photo in photos}) == len({photo.file for photo in photos}) == len(photos)
    assert all(photo.title and photo.licence and photo.landing_url.startswith("http") for photo in photos)


def test_colour_photographs_have_a_partition_of_a_year():
    years = {photo.year_published for photo in read_index() if photo.role == Role.COLOUR}
    assert {str(year) for year in years} < set(crawl_partitions())
    assert 3 <= len(years) <= 6


def test_each_role_is_there():
    roles = [photo.role for photo in read_index()]
    assert roles.count(Role.COLOUR) >= 8
    assert roles.count(Role.REFUSE) >= 3
    assert roles.count(Role.TARGET) >= 4


def test_finding_the_files_imports_none_of_the_packages():
    code = (
        "import sys; from kwcolor_pipeline.sample import read_index; [photo.path for photo in read_index()];"
        "sys.exit(any(name in sys.modules for name in ('skimage', 'sklearn', 'matplotlib', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_package_is_named():
    photo = SamplePhoto("no_such_package_here:a.png", "a", "A", None, "CC0", None, "http://a", None, None, Role.COLOUR)
    with pytest.raises(FileNotFoundError, match="no_such_package_here"):
        _ = photo.path
