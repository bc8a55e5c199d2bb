"""The exported network answers as the bundle's does, at any size, and says what it is."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from kwcolor_pipeline.cli import app
from kwcolor_pipeline.networks.bundle import load_generator, read_bundle
from kwcolor_pipeline.networks.onnx_export import export_onnx
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.starter import STARTER


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "deep" / "starter.onnx"
    result = CliRunner().invoke(app, ["export", str(file), "--model", "starter"])
    assert result.exit_code == 0, result.output
    assert list(file.parent.iterdir()) == [file]
    return file


@pytest.mark.parametrize("shape", [(1, 1, 160, 192), (2, 1, 96, 64), (1, 1, 32, 256)])
def test_the_export_gives_the_same_chroma(exported: Path, shape: tuple[int, ...]) -> None:
    lightness = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    (chroma,) = session.run(None, {"lightness": lightness})
    with torch.inference_mode():
        wanted = load_generator(read_bundle(STARTER), torch.device("cpu"))(torch.from_numpy(lightness)).numpy()
    assert np.abs(wanted).max() > 5
    np.testing.assert_allclose(chroma, wanted, atol=0.01)


def test_the_export_says_which_weights_it_holds_and_how_to_ask_them(exported: Path) -> None:
    told = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    bundle = read_bundle(STARTER)
    assert told["weights_sha256"] == bundle.weights_sha256
    assert json.loads(told["rendering"]) == bundle.description["rendering"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SettingsProblem, match="pip install"):
        export_onnx(read_bundle(STARTER), tmp_path / "a.onnx")
