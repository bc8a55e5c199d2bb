"""What the studio does without a page: its models, what is looked at, the file that is kept, and what is refused."""

import datetime
import io
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from kwcolor_pipeline.colorize import batch
from kwcolor_pipeline.colorize.files import is_colorized
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.starter import STARTER
from kwcolor_pipeline.studio import colorizing
from kwcolor_pipeline.studio.colorizing import GREY, Refused, Studio
from kwcolor_pipeline.tracking.mlflow_tracking import Version
from kwcolor_pipeline_tests.colorize.pictures import Even, colorizer_of
from kwcolor_pipeline_tests.photos.pictures import scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where photographs are dropped in."""
    (tmp_path / "dropped" / "in").mkdir(parents=True)
    return tmp_path / "dropped"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", device="cpu")


@pytest.fixture
def studio(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """One whose every model makes everything purple."""
    purple = colorizer_of(Even(30.0, -30.0))
    monkeypatch.setattr(colorizing, "_open", lambda bundle, device: purple)
    monkeypatch.setattr(batch, "open_colorizer", lambda bundle, device: purple)
    return Studio(settings, folder)


def dropped(folder: Path, name: str = "letter, 1951.jpg", size: tuple[int, int] = (96, 72)) -> Path:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "A letter from Busan", 6
    path = folder / "in" / name
    scene(1, size).convert("L").save(path, quality=92, exif=exif)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.int16)


def chroma(path: Path) -> float:
    """How far apart the channels are on average."""
    return float(np.ptp(pixels(path), axis=-1).mean())


class Versions:
    """Stands in for MLflow, which takes seconds."""

    def versions(self) -> list[Version]:
        when = datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC)
        return [
            Version(number, aliases, {}, None, {}, when, "", "")
            for number, aliases in ((3, ("challenger",)), (2, ("champion",)), (1, ()))
        ]


def test_without_a_registry_there_is_the_starter_and_none_is_made(studio: Studio, settings: Settings) -> None:
    assert studio.models() == {"starter": "The starter"}
    assert not settings.home.exists()


def test_the_champion_is_offered_first_then_the_starter_then_the_other_versions(
    studio: Studio, settings: Settings
) -> None:
    settings.home.mkdir()
    settings.paths.mlflow_database.touch()
    studio.__dict__["_tracking"] = Versions()
    assert list(studio.models().items()) == [
        ("models:/kwcolor/2", "Version 2, the champion"),
        ("starter", "The starter"),
        ("models:/kwcolor/3", "Version 3"),
        ("models:/kwcolor/1", "Version 1"),
    ]


def test_what_is_looked_at_is_upright_no_larger_than_a_screen_and_marked(studio: Studio, folder: Path) -> None:
    look = studio.look(dropped(folder, size=(2400, 1200)), "starter", GREY, 1.0)
    left, right = Image.open(look.left), Image.open(look.right)
    assert left.size == right.size == (800, 1600)
    assert left.mode == "L"
    assert chroma(look.right) > 20
    assert is_colorized(look.right)
    assert not is_colorized(look.left)
    assert look.says == "letter, 1951.jpg: 1200 × 2400 pixels, 8 bits."


def test_strength_and_the_model_to_compare_with_are_heeded(studio: Studio, folder: Path) -> None:
    path = dropped(folder)
    shown = {strength: studio.look(path, "starter", "starter", strength) for strength in (0.0, 0.5, 1.0)}
    assert chroma(shown[0.0].right) < 1
    assert chroma(shown[0.0].right) < chroma(shown[0.5].right) < chroma(shown[1.0].right)
    for look in shown.values():
        assert (pixels(look.left) == pixels(look.right)).all()


def test_a_photograph_in_colour_is_told_about(studio: Studio, folder: Path) -> None:
    path = folder / "in" / "colour.png"
    scene(2).save(path)
    assert "It is in colour already" in studio.look(path, "starter", GREY, 1.0).says


def test_the_file_is_the_one_that_the_command_writes(
    studio: Studio, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    path = dropped(folder)
    made = studio.result(path, "starter", 1.0)
    batch.colorize_files(settings, [path], tmp_path / "out", STARTER, "kwcolor's starter", "same")
    commanded = tmp_path / "out" / path.name
    assert made.name == commanded.name == "letter, 1951.jpg"
    assert (pixels(made) == pixels(commanded)).all()
    first, second = Image.open(made), Image.open(commanded)
    assert first.getexif()[0x010E] == "A letter from Busan"
    assert first.info["exif"] == second.info["exif"]
    date = re.compile(rb"\d{4}-\d\d-\d\dT[\d:+]+")
    assert date.sub(b"", first.info["xmp"]) == date.sub(b"", second.info["xmp"])
    assert b"compositeWithTrainedAlgorithmicMedia" in first.info["xmp"]


def test_a_scan_of_sixteen_bits_keeps_them(studio: Studio, folder: Path) -> None:
    path = folder / "in" / "scan.tif"
    tifffile.imwrite(path, np.linspace(0, 65535, 80 * 60).reshape(60, 80).astype(np.uint16))
    made = tifffile.imread(studio.result(path, "starter", 0.5))
    assert (made.dtype, made.shape) == (np.uint16, (60, 80, 3))
    assert "16 bits" in studio.look(path, "starter", GREY, 1.0).says


def test_what_cannot_be_colorized_is_refused_with_a_sentence_that_names_no_folder(
    studio: Studio, settings: Settings, folder: Path
) -> None:
    path, broken = dropped(folder), folder / "in" / "broken.jpg"
    broken.write_bytes(b"no picture")
    small = Studio(
        settings.model_copy(update={"colorize": settings.colorize.model_copy(update={"max_pixels": 9})}), folder
    )
    outside = folder.parent / "mine.jpg"
    path.with_name("twin.jpg").symlink_to(outside)
    Image.new("L", (9, 9)).save(outside)
    for sentence, ask in {
        "broken.jpg is not a picture": lambda: studio.look(broken, "starter", GREY, 1.0),
        "broken.jpg is not": lambda: studio.result(broken, "starter", 1.0),
        "has 96 x 72 pixels, more than the 9": lambda: small.look(path, "starter", GREY, 1.0),
        "mine.jpg was not dropped in here": lambda: studio.look(outside, "starter", GREY, 1.0),
        "twin.jpg was not dropped in here": lambda: studio.result(folder / "in" / "twin.jpg", "starter", 1.0),
        "gone.jpg is not here any more": lambda: studio.look(folder / "in" / "gone.jpg", "starter", GREY, 1.0),
        "There are no versions here": lambda: studio.look(path, "models:/kwcolor/7", GREY, 1.0),
        "no versions": lambda: studio.result(path, "models:/kwcolor/7", 1.0),
        "The strength 9 is not within": lambda: studio.look(path, "starter", GREY, 9.0),
        "The strength -1 is": lambda: studio.result(path, "starter", -1.0),
    }.items():
        with pytest.raises(Refused) as refused:
            ask()
        assert sentence in str(refused.value)
        assert str(folder) not in str(refused.value)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_want_of_memory_is_a_sentence_too(
    studio: Studio, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(colorizing, "_open", lambda bundle, device: fail)
    path = dropped(folder)
    for ask in (lambda: studio.look(path, "starter", GREY, 1.0), lambda: studio.result(path, "starter", 1.0)):
        with pytest.raises(Refused, match="needs more memory than there is"):
            ask()


def test_what_is_something_else_is_not_hidden(studio: Studio, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(colorizing, "_open", lambda bundle, device: fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        studio.look(dropped(folder), "starter", GREY, 1.0)


def test_the_starter_itself_gives_colours(settings: Settings, folder: Path) -> None:
    look = Studio(settings, folder).look(dropped(folder), "starter", GREY, 1.0)
    assert chroma(look.right) > 1
    assert Image.open(io.BytesIO(look.right.read_bytes())).size == (72, 96)
