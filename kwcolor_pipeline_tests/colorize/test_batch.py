import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kwcolor_pipeline.colorize import batch, files
from kwcolor_pipeline.colorize.batch import BatchReport, colorize_files
from kwcolor_pipeline.colorize.files import is_colorized
from kwcolor_pipeline.colorize.provenance import Marking
from kwcolor_pipeline.colorize.reading import Photograph
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings, SettingsProblem, load_settings
from kwcolor_pipeline_tests.colorize.pictures import Even, colorizer_of, noise, saved


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "open_colorizer", lambda bundle, device: colorizer_of(Even(10, 20)))
    return load_settings(home=tmp_path / "home")


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return saved(path, Image.fromarray(noise(12, 17, seed)))


def colorized(settings: Settings, given: list[Path], output: Path, ending: str = "jpg") -> BatchReport:
    return colorize_files(settings, given, output, Path("bundle"), "test", ending)


def test_files_and_folders_keep_their_stems(settings: Settings, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "one.png")
    picture(tmp_path / "in" / "below" / "two.tif")
    three = picture(tmp_path / "three.jpg")
    report = colorized(settings, [tmp_path / "in", three], tmp_path / "out", "webp")
    assert report.problems == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.webp", "three.webp", "two.webp"]
    assert np.ptp(np.asarray(Image.open(tmp_path / "out" / "one.webp")).mean(axis=(0, 1))) > 5


def test_one_bad_file_does_not_stop_the_others(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jpg").write_text("no picture")
    picture(tmp_path / "in" / "good.png")
    report = colorized(settings, [tmp_path / "in"], tmp_path / "out")
    assert [path.name for path in report.written] == ["good.jpg"]
    assert len(report.problems) == 1
    assert "bad.jpg is not a picture" in report.problems[0]


def test_two_files_of_one_stem_are_one_result_and_one_problem(settings: Settings, tmp_path: Path) -> None:
    first, second = picture(tmp_path / "a" / "x.png", 1), picture(tmp_path / "b" / "x.tif", 2)
    report = colorized(settings, [first, second, first], tmp_path / "out")
    assert len(report.written) == 1
    assert report.problems == [f"{second} would be written over the result of {first}; it is skipped."]


def test_no_original_is_ever_written_over(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    originals = [picture(folder / "a.jpg", 1), picture(folder / "a.png", 2), picture(folder / "b.png", 3)]
    bystander = picture(folder / "b.jpg", 4)
    before = {path: path.read_bytes() for path in (*originals, bystander)}
    link = folder / "linked"
    link.symlink_to(folder)
    for given in ([folder], originals, [folder / "a.png", folder / "b.png"]):
        report = colorized(settings, given, link)
        assert report.written == []
        assert report.problems
    assert {path: path.read_bytes() for path in before} == before


def test_earlier_results_stay_and_are_no_originals_unless_asked(settings: Settings, tmp_path: Path) -> None:
    original = picture(tmp_path / "in" / "a.png")
    output = tmp_path / "in" / "colour"
    first = colorized(settings, [tmp_path / "in"], output)
    assert (first.problems, first.skipped, [path.name for path in first.written]) == ([], [], ["a.jpg"])
    made = (output / "a.jpg").read_bytes()
    picture(original, seed=5)
    second = colorized(settings, [tmp_path / "in"], output)
    assert (second.problems, second.skipped, second.written) == ([], [output / "a.jpg"], [])
    assert (output / "a.jpg").read_bytes() == made
    third = colorize_files(settings, [tmp_path / "in"], output, Path("bundle"), "test", "jpg", again=True)
    assert (third.problems, third.skipped, third.written) == ([], [], [output / "a.jpg"])
    assert (output / "a.jpg").read_bytes() != made
    assert [path.name for path in output.iterdir()] == ["a.jpg"]


def test_what_cannot_be_begun_is_one_sentence(settings: Settings, tmp_path: Path) -> None:
    photograph = picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    cases = [
        ([photograph], tmp_path / "out", "gif", "`gif` is not a format"),
        ([tmp_path / "missing.jpg"], tmp_path / "out", "jpg", r"missing\.jpg does not exist"),
        ([tmp_path / "empty"], tmp_path / "out", "jpg", "no picture in"),
        ([photograph], photograph, "jpg", "is a file; give a folder"),
        ([photograph], photograph / "below", "jpg", "cannot be made"),
    ]
    for given, output, ending, says in cases:
        with pytest.raises(SettingsProblem, match=says):
            colorized(settings, given, output, ending)
    assert not (tmp_path / "out").exists()


def test_patterns_lists_and_manifests_stand_for_their_pictures(settings: Settings, tmp_path: Path) -> None:
    one, two = picture(tmp_path / "in" / "one.png", 1), picture(tmp_path / "in" / "deep" / "two.tif", 2)
    three = picture(tmp_path / "in" / "three.jpg", 3)
    listed = tmp_path / "in" / "list.txt"
    listed.write_text(f"# of the archive\n\nthree.jpg\n{two}\n")
    store = PhotoStore(settings.paths.photos)
    stored = store.put(three.read_bytes(), "JPEG")
    manifest, table = tmp_path / "manifest.parquet", tmp_path / "in" / "table.parquet"
    pq.write_table(pa.table({"photo_id": [stored, "f" * 64], "status": ["stored", "rejected"]}), manifest)
    pq.write_table(pa.table({"path": ["one.png", None]}), table)
    cases = {
        tmp_path / "in" / "**" / "*.[pt][ni]*": {one.stem, two.stem},
        listed: {three.stem, two.stem},
        manifest: {stored},
        table: {one.stem},
    }
    for number, (given, stems) in enumerate(cases.items()):
        report = colorized(settings, [given], tmp_path / f"out{number}")
        assert report.problems == []
        assert {path.stem for path in report.written} == stems


def test_lists_that_cannot_be_used_are_one_sentence(settings: Settings, tmp_path: Path) -> None:
    broken, other = tmp_path / "broken.parquet", tmp_path / "other.parquet"
    broken.write_bytes(b"no table")
    pq.write_table(pa.table({"name": ["a"]}), other)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    cases = {
        broken: "is not a manifest",
        other: "has neither a column `path`",
        tmp_path / "list.txt": "cannot be read",
        tmp_path / "*.gif": "does not exist",
    }
    for given, says in cases.items():
        with pytest.raises(SettingsProblem, match=says):
            colorized(settings, [given], tmp_path / "out")
    (tmp_path / "list.txt").write_text("missing.jpg\n")
    report = colorized(settings, [tmp_path / "list.txt"], tmp_path / "out")
    assert report.problems == [f"{tmp_path}/missing.jpg cannot be read: No such file or directory."]


def test_results_have_their_originals_format_where_it_can_be_written(settings: Settings, tmp_path: Path) -> None:
    originals = [picture(tmp_path / "in" / name) for name in ("a.JPG", "b.png", "c.tiff", "d.webp", "e.gif", "f.jp2")]
    report = colorized(settings, originals, tmp_path / "out", "same")
    assert [path.name for path in report.written] == ["a.jpg", "b.png", "c.tiff", "d.webp", "e.png", "f.jp2"]
    assert {path.suffix: Image.open(path).format for path in report.written} == {
        ".jpg": "JPEG",
        ".png": "PNG",
        ".tiff": "TIFF",
        ".webp": "WEBP",
        ".jp2": "JPEG2000",
    }


def test_side_by_side_is_grey_and_colour(settings: Settings, tmp_path: Path) -> None:
    original = picture(tmp_path / "a.png")
    report = colorize_files(settings, [original], tmp_path / "out", Path("bundle"), "m", "png", side_by_side=True)
    assert [path.name for path in report.written] == ["a.png"]
    beside = np.asarray(Image.open(tmp_path / "out" / "a-side-by-side.jpg")).astype(int)
    assert beside.shape == (12, 34, 3)
    assert np.ptp(beside[:, :17].mean(axis=(0, 1))) < 1
    assert np.ptp(beside[:, 17:].mean(axis=(0, 1))) > 5


def test_unmarked_results_are_neither_marked_nor_written_over(settings: Settings, tmp_path: Path) -> None:
    original = picture(tmp_path / "a.png")

    def unmarked(again: bool = False) -> BatchReport:
        marking = Marking(hidden=False)
        return colorize_files(
            settings, [original], tmp_path / "out", Path("bundle"), "m", "png", marking=marking, again=again
        )

    assert [path.name for path in unmarked().written] == ["a.png"]
    assert not is_colorized(tmp_path / "out" / "a.png")
    assert [path.name for path in unmarked().skipped] == ["a.png"]
    # Nobody can tell it from a stranger's picture.
    assert "an original" in unmarked(again=True).problems[0]


def test_reading_goes_one_photograph_ahead_and_no_further(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = [picture(tmp_path / "in" / f"{number}.png", number) for number in range(6)]
    read, done, ahead = [], [], []
    original_read, original_write = batch.read_photograph, batch.write_colorized

    def reading(path: Path, *rest: object) -> object:
        read.append(path)
        ahead.append(len(read) - len(done))
        return original_read(path, *rest)

    def writing(path: Path, *rest: object) -> None:
        original_write(path, *rest)
        done.append(path)

    monkeypatch.setattr(batch, "read_photograph", reading)
    monkeypatch.setattr(batch, "write_colorized", writing)
    report = colorized(settings, originals, tmp_path / "out")
    assert [path.stem for path in report.written] == ["0", "1", "2", "3", "4", "5"]
    # One that is read, one before the network, one that is written.
    assert max(ahead) <= 3


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")])
def test_a_photograph_that_is_too_large_for_the_machine_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    originals = [picture(tmp_path / "in" / "a.png"), picture(tmp_path / "in" / "b.png", 1)]

    def refusing(colorizer: object, photograph: Photograph, *rest: object) -> object:
        if photograph.path.stem == "a":
            raise error
        return files.colorized(colorizer, photograph, *rest)

    monkeypatch.setattr(batch, "colorized", refusing)
    report = colorized(settings, originals, tmp_path / "out")
    assert report.problems == [f"{originals[0]} needs more memory than there is; nothing was written for it."]
    assert [path.name for path in report.written] == ["b.jpg"]


def test_a_disk_that_is_full_is_told(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(batch, "write_colorized", full)
    report = colorized(settings, [picture(tmp_path / "a.png")], tmp_path / "out")
    assert report.problems == [f"{tmp_path}/out/a.jpg cannot be written: No space left on device."]


def test_other_errors_are_not_swallowed(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "colorized", lambda *_: (_ for _ in ()).throw(RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        colorized(settings, [picture(tmp_path / "a.png")], tmp_path / "out")
