import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.review import thumbnails
from kwcolor_pipeline.review.thumbnails import PICTURE_SIDE, THUMBNAIL_SIDE, Thumbnails
from kwcolor_pipeline_tests.photos.pictures import encoded, framed, scene


@pytest.fixture
def store(tmp_path: Path) -> PhotoStore:
    return PhotoStore(tmp_path / "photos")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were opened, in order."""
    files: list[Path] = []
    real: Callable[[Path], Image.Image] = thumbnails.open_upright

    def counting(path: Path) -> Image.Image:
        files.append(path)
        return real(path)

    monkeypatch.setattr(thumbnails, "open_upright", counting)
    return files


def shown(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return image


def test_a_thumbnail_is_upright_trimmed_and_small(store: PhotoStore) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo_id = store.put(encoded(framed(scene(1, (700, 500)), (50, 0, 50, 0), 250), exif=exif.tobytes()), "JPEG")
    pictures = Thumbnails(store)
    thumbnail = shown(pictures.thumbnail(photo_id, (0, 50, 500, 750)))
    assert (max(thumbnail.size), thumbnail.size[0] / thumbnail.size[1]) == (THUMBNAIL_SIDE, pytest.approx(5 / 7, 0.01))
    assert thumbnail.convert("L").getextrema()[1] < 250
    assert shown(pictures.picture(photo_id)).size == (500, 800)


def test_a_large_picture_is_made_smaller(store: PhotoStore) -> None:
    photo_id = store.put(encoded(scene(1, (PICTURE_SIDE * 2, 900))), "JPEG")
    assert shown(Thumbnails(store).picture(photo_id)).size == (PICTURE_SIDE, 450)


@pytest.mark.parametrize("data", [b"", b"no picture", encoded(scene(1))[:900]], ids=["empty", "text", "truncated"])
def test_what_cannot_be_read_gives_a_placeholder(store: PhotoStore, data: bytes) -> None:
    photo_id = store.put(data, "JPEG")
    placeholder = Thumbnails(store).thumbnail("0" * 64, None)  # not in the store at all
    assert Thumbnails(store).thumbnail(photo_id, None) == placeholder
    assert max(shown(placeholder).size) <= THUMBNAIL_SIDE


def test_a_thumbnail_is_made_once_and_the_memory_is_bounded(store: PhotoStore, opened: list[Path]) -> None:
    ids = [store.put(encoded(scene(seed)), "JPEG") for seed in range(3)]
    sizes = [len(Thumbnails(store).thumbnail(photo_id, None)) for photo_id in ids]
    opened.clear()
    pictures = Thumbnails(store, kept_bytes=sum(sizes) - 1)
    for photo_id in (ids[0], ids[1], ids[0], ids[2]):  # the third drops what was longest not asked for
        pictures.thumbnail(photo_id, None)
    assert [path.stem for path in opened] == ids
    pictures.thumbnail(ids[0], None)
    assert len(opened) == 3
    pictures.thumbnail(ids[1], None)
    assert len(opened) == 4


def test_another_trim_is_another_thumbnail(store: PhotoStore, opened: list[Path]) -> None:
    photo_id = store.put(encoded(scene(1)), "JPEG")
    pictures = Thumbnails(store)
    assert shown(pictures.thumbnail(photo_id, (0, 0, 96, 144))).size == (96, 144)
    assert shown(pictures.thumbnail(photo_id, (0, 0, 192, 72))).size == (192, 72)
    assert len(opened) == 2
