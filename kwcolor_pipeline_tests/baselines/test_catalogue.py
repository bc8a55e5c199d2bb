"""The catalogue: what is available, what is said about the rest, and what opening gives or refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.baselines import catalogue, deoldify_network
from kwcolor_pipeline.baselines.catalogue import available_baselines, baselines_fingerprint, open_baselines
from kwcolor_pipeline.baselines.published import ARTISTIC, STABLE
from kwcolor_pipeline.settings import Settings, SettingsProblem, load_settings
from kwcolor_pipeline_tests.baselines.small_deoldify import lively, saved, small

NAMES = ["DeOldify artistic", "DeOldify stable", "DeOldify ONNX", "DDColor"]
GRAY = np.tile(np.linspace(70, 180, 60).astype(np.uint8), (40, 1))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def settings_with(home, **baselines) -> Settings:
    return load_settings(home=home, device="cpu", baselines={"render_factor": 2} | baselines)


def results_in(folder, *names):
    folder.mkdir()
    for name in names:
        Image.new("RGB", (60, 40), (90, 60, 30)).save(folder / f"{name}.png")
    return folder


def test_without_settings_nothing_is_available_and_each_says_how_to_get_it(home):
    found = available_baselines(settings_with(home))
    assert [baseline.name for baseline in found] == NAMES
    assert not any(baseline.available or baseline.wanted for baseline in found)
    for baseline in found:
        assert baseline.missing.startswith("Get ")
        assert baseline.missing.endswith(".")
        assert f"KWCOLOR_BASELINES__{baseline.name.upper().replace(' ', '_')}" in baseline.missing.replace(
            "DDCOLOR_ONNX", "DDCOLOR"
        )
    for baseline, published in zip(found, (ARTISTIC, STABLE), strict=False):
        assert published.file in baseline.missing
        assert published.sha256 in baseline.missing
        assert "jantic/DeOldify" in baseline.missing
    assert open_baselines(settings_with(home)) == {}


@pytest.mark.parametrize("field", ["deoldify_artistic", "deoldify_stable", "deoldify_onnx", "ddcolor_onnx"])
def test_a_named_file_that_is_not_there_stops_the_comparison(home, field):
    settings = settings_with(home, **{field: home / "nothing"})
    (baseline,) = [baseline for baseline in available_baselines(settings) if baseline.wanted]
    assert not baseline.available
    with pytest.raises(SettingsProblem, match=f"{baseline.name} cannot be compared with: .*{field.upper()} names"):
        open_baselines(settings)


def test_a_named_folder_that_is_not_there_stops_the_comparison(home):
    with pytest.raises(SettingsProblem, match="other cannot be compared with: KWCOLOR_BASELINES__FOLDERS names"):
        open_baselines(settings_with(home, folders={"other": home / "nothing"}))


@pytest.mark.parametrize(("field", "published"), [("deoldify_artistic", ARTISTIC), ("deoldify_stable", STABLE)])
def test_a_file_that_is_not_the_published_one_is_refused(home, tmp_path, field, published):
    (tmp_path / published.file).write_bytes(b"something")
    with pytest.raises(SettingsProblem, match=published.sha256):
        open_baselines(settings_with(home, **{field: tmp_path / published.file}))


@pytest.mark.parametrize(
    ("field", "published", "build", "wide"),
    [("deoldify_artistic", "ARTISTIC", "artistic", False), ("deoldify_stable", "STABLE", "stable", True)],
)
def test_deoldifys_file_becomes_a_colorizer(home, tmp_path, monkeypatch, field, published, build, wide):
    """All of the way but for the size of the network and for whose hash is the published one."""
    what = saved(tmp_path / "a.pth", {"model": lively(small(wide=wide)).state_dict(), "opt": {}})
    monkeypatch.setattr(catalogue, published, what)
    monkeypatch.setattr(deoldify_network, build, lambda: small(wide=wide))
    (name, colorize), *others = open_baselines(settings_with(home, **{field: tmp_path / "a.pth"})).items()
    assert others == []
    assert name == f"DeOldify {build}"
    result = colorize(GRAY, "a" * 64)
    assert result.shape == (40, 60, 3)
    assert result.dtype == np.uint8
    assert np.ptp(result.astype(int), axis=-1).max() > 5


def test_folders_come_after_the_others_and_are_checked_at_once(home, tmp_path):
    folders = {"zoo": results_in(tmp_path / "z", "a", "b"), "bee": results_in(tmp_path / "b", "a")}
    settings = settings_with(home, folders=folders)
    assert [baseline.name for baseline in available_baselines(settings)] == [*NAMES, "zoo", "bee"]
    opened = open_baselines(settings, ["a"])
    assert list(opened) == ["zoo", "bee"]
    assert opened["bee"](GRAY, "a")[0, 0].tolist() == [90, 60, 30]
    with pytest.raises(SettingsProblem, match="no result for b"):
        open_baselines(settings, ["a", "b"])


def test_a_folder_cannot_take_anothers_name(home, tmp_path):
    with pytest.raises(SettingsProblem, match="another baseline's name"):
        available_baselines(settings_with(home, folders={"DDColor": tmp_path}))


def test_exports_are_opened_by_name(home, tmp_path):
    exports = pytest.importorskip("kwcolor_pipeline_tests.baselines.exports", reason="needs onnx and onnxruntime")
    deoldify = exports.export(tmp_path / "d.onnx", np.eye(3).tolist(), [25.5, 0, 0], limits=(0, 255))
    ddcolor = exports.export(tmp_path / "c.onnx", [[1, 0, 0], [0, 1, 0]], [9, 9])
    opened = open_baselines(settings_with(home, deoldify_onnx=deoldify, ddcolor_onnx=ddcolor))
    assert list(opened) == ["DeOldify ONNX", "DDColor"]
    for colorize in opened.values():
        result = colorize(GRAY, "a").astype(int)
        assert (result[..., 0] > result[..., 2]).all()


def test_without_onnxruntime_an_export_says_how_to_get_it(home, tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"x")
    monkeypatch.setattr(catalogue, "onnxruntime_is_installed", lambda: False)
    settings = settings_with(home, ddcolor_onnx=tmp_path / "a.onnx")
    missing = {baseline.name: baseline.missing for baseline in available_baselines(settings)}
    assert missing["DDColor"] == "Run `pip install 'kwcolor_pipeline[baselines]'`."
    assert missing["DeOldify ONNX"].endswith(
        "and install onnxruntime with `pip install 'kwcolor_pipeline[baselines]'`."
    )
    with pytest.raises(SettingsProblem, match="pip install"):
        open_baselines(settings)


def test_the_fingerprint_follows_contents_and_settings_and_not_places(home, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "onnxruntime_is_installed", lambda: True)
    (tmp_path / "a.onnx").write_bytes(b"one")
    (tmp_path / "same.onnx").write_bytes(b"one")
    (tmp_path / "b.onnx").write_bytes(b"two")
    folder = results_in(tmp_path / "z", "a")

    def of(**baselines) -> str:
        return baselines_fingerprint(settings_with(home, **baselines))

    first = of(deoldify_onnx=tmp_path / "a.onnx", folders={"zoo": folder})
    assert first == of(deoldify_onnx=tmp_path / "same.onnx", folders={"zoo": folder})
    others = [
        of(),
        of(deoldify_onnx=tmp_path / "b.onnx", folders={"zoo": folder}),
        of(deoldify_onnx=tmp_path / "a.onnx", folders={"zoo": folder}, render_factor=3),
        of(deoldify_onnx=tmp_path / "a.onnx", folders={"zoo": folder}, deoldify_onnx_values="unit"),
        of(deoldify_onnx=tmp_path / "a.onnx", folders={"bee": folder}),
    ]
    Image.new("RGB", (60, 40)).save(folder / "a.png")
    others.append(of(deoldify_onnx=tmp_path / "a.onnx", folders={"zoo": folder}))
    assert len({first, *others}) == 7


def test_asking_what_is_available_is_light(tmp_path):
    code = (
        "import json, sys\n"
        "from kwcolor_pipeline.baselines.catalogue import available_baselines, baselines_fingerprint\n"
        "from kwcolor_pipeline.settings import load_settings\n"
        "settings = load_settings()\n"
        "available_baselines(settings), baselines_fingerprint(settings)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert set(json.loads(found.stdout)) & {"torch", "torchvision", "onnxruntime", "mlflow"} == set()


def test_folders_are_written_as_names_and_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KWCOLOR_BASELINES__FOLDERS", "DDColor web=/a/b=c, other = rel,")
    folders = load_settings().baselines.folders
    assert {name: str(path) for name, path in folders.items()} == {
        "DDColor web": "/a/b=c",
        "other": str(tmp_path / "rel"),
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FOLDERS", "no path"),
        ("FOLDERS", "a=/x,a=/y"),
        ("FOLDERS", "=/x"),
        ("FOLDERS", "a=s3://x"),
        ("DDCOLOR_ONNX", "https://x.example/a.onnx"),
        ("DEOLDIFY_STABLE", ""),
        ("DEOLDIFY_ONNX_VALUES", "bytes"),
        ("RENDER_FACTOR", "1"),
        ("SKIP_HASH", "1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(monkeypatch, tmp_path, variable, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"KWCOLOR_BASELINES__{variable}", value)
    with pytest.raises(SettingsProblem, match="baselines"):
        load_settings()
