"""Exports of DeOldify and DDColor: conventions, shapes, and what is refused."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kwcolor_pipeline.baselines.deoldify import DeOldify
from kwcolor_pipeline.baselines.onnx_colorizers import OnnxDDColor, OnnxDeOldify
from kwcolor_pipeline.baselines.yuv import rgb_to_yuv
from kwcolor_pipeline.colour.lab import rgb_to_lab
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.baselines.exports import export, onnx
from kwcolor_pipeline_tests.baselines.small_deoldify import lively, small

IDENTITY = np.eye(3).tolist()
#: Makes grey reddish in each convention: red up, blue down by a tenth of the range.
REDDENING = {
    "pixels": {"mix": IDENTITY, "shift": [25.5, 0, -25.5], "limits": (0.0, 255.0)},
    "unit": {"mix": IDENTITY, "shift": [0.1, 0, -0.1], "limits": (0.0, 1.0)},
    "normalised": {"mix": IDENTITY, "shift": [0.1 / 0.229, 0, -0.1 / 0.225], "limits": (-3.0, 3.0)},
}
GRAY = np.tile(np.linspace(70, 180, 60).astype(np.uint8), (40, 1))


@pytest.mark.parametrize("values", REDDENING)
@pytest.mark.parametrize("side", [32, "side"])
def test_each_convention_gives_the_same_colours(tmp_path, values, side):
    path = export(tmp_path / "a.onnx", **REDDENING[values], side=side)
    result = OnnxDeOldify(path, values, 2, "cpu")(GRAY, "")
    assert result.shape == (40, 60, 3)
    assert np.abs(rgb_to_yuv(result)[..., 0].astype(int) - GRAY).max() <= 1
    red, blue = result[..., 0].astype(int) - GRAY, result[..., 2].astype(int) - GRAY
    assert np.abs(red - 25).max() <= 12
    assert np.abs(blue + 25).max() <= 12


@pytest.mark.parametrize("values", REDDENING)
@pytest.mark.parametrize("said", REDDENING)
def test_a_wrong_convention_is_noticed(tmp_path, values, said):
    path = export(tmp_path / "a.onnx", **REDDENING[values])
    if said == values:
        OnnxDeOldify(path, said, 2, "cpu")
        return
    with pytest.raises(SettingsProblem, match="DEOLDIFY_ONNX_VALUES"):
        OnnxDeOldify(path, said, 2, "cpu")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("wide", [False, True])
def test_an_export_of_the_network_gives_what_the_network_gives(tmp_path, wide):
    network = lively(small(wide=wide))
    picture = torch.randn(1, 3, 48, 48)
    torch.onnx.export(network, (picture,), str(tmp_path / "a.onnx"), dynamo=False, opset_version=17)
    gray = np.random.default_rng(0).integers(0, 256, (37, 50), dtype=np.uint8)
    of_network = DeOldify(network, torch.device("cpu"), 3)(gray, "").astype(int)
    of_export = OnnxDeOldify(tmp_path / "a.onnx", "normalised", 35, "cpu")(gray, "")
    # A difference in the last digit may be rounded down to another level.
    assert np.abs(of_network - of_export).max() <= 4
    assert (of_network != of_export).mean() < 0.01
    assert np.ptp(of_network, axis=-1).max() > 5


def test_half_precision_is_taken(tmp_path):
    path = export(tmp_path / "a.onnx", **REDDENING["pixels"], half=True, batch="batch")
    assert OnnxDeOldify(path, "pixels", 2, "cpu")(GRAY, "").shape == (40, 60, 3)


@pytest.mark.parametrize("side", [32, "side"])
def test_ddcolor_gives_its_chroma_at_the_photographs_lightness(tmp_path, side):
    chroma = [[2.0, 0.0, 0.0], [0.0, -3.0, 0.0]]  # a* and b* follow the grey, 0..1
    path = export(tmp_path / "a.onnx", chroma, [4.0, 5.0], side=side)
    result = OnnxDDColor(path, "cpu")(GRAY, "")
    lab = rgb_to_lab(torch.from_numpy(result).permute(2, 0, 1)[None] / 255)[0]
    grey = torch.from_numpy(GRAY).float() / 255
    lightness = rgb_to_lab(grey.expand(1, 3, -1, -1))[0, 0]
    assert (lab[0] - lightness).abs().max() < 0.5
    seen = 32 if side == 32 else 512
    square = F.interpolate(grey[None, None], size=(seen, seen), mode="bilinear")
    back = F.interpolate(square, size=GRAY.shape, mode="nearest")[0, 0]
    assert (lab[1] - (4 + 2 * back)).abs().max() < 0.8
    assert (lab[2] - (5 - 3 * back)).abs().max() < 0.8


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"inputs": [[1, 3, 32, 48]]}, "takes 1 x 3 x 32 x 48"),
        ({"inputs": [[1, 1, 32, 32]], "mix": [[1], [1], [1]]}, "takes 1 x 1 x 32 x 32"),
        ({"inputs": [[4, 3, 32, 32]]}, "takes 4 x 3 x 32 x 32"),
        ({"inputs": [[1, 3, 32, "w"]]}, r"takes 1 x 3 x 32 x \?"),
        ({"inputs": [[1, 3, 32, 32], [1, 3, 32, 32]]}, "1 x 3 x 32 x 32 and 1 x 3 x 32 x 32"),
        ({"side": 100_000}, "100000 pixels a side"),
        ({"mix": [[1, 0, 0], [0, 1, 0]], "shift": [0, 0]}, "gives 1 x 2 x 32 x 32 and not 1 x 3"),
        ({"shift": [float("nan"), 0, 0], "limits": None}, "no numbers"),
    ],
)
def test_other_networks_are_refused(tmp_path, made, says):
    path = export(tmp_path / "a.onnx", **(REDDENING["pixels"] | made))
    with pytest.raises(SettingsProblem, match=says) as refused:
        OnnxDeOldify(path, "pixels", 2, "cpu")
    assert str(path) in str(refused.value)


def test_a_deoldify_export_is_no_ddcolor_and_the_other_way_round(tmp_path):
    deoldify = export(tmp_path / "a.onnx", **REDDENING["pixels"])
    ddcolor = export(tmp_path / "b.onnx", [[1, 0, 0], [0, 1, 0]], [0, 0])
    with pytest.raises(SettingsProblem, match="1 x 2 x S x S"):
        OnnxDDColor(deoldify, "cpu")
    with pytest.raises(SettingsProblem, match="1 x 3 x S x S"):
        OnnxDeOldify(ddcolor, "pixels", 2, "cpu")


@pytest.mark.parametrize("content", [b"", b"no onnx file", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(SettingsProblem, match="cannot be opened as an ONNX file"):
        OnnxDDColor(tmp_path / "a.onnx", "cpu")


def test_a_truncated_file_is_refused(tmp_path):
    path = export(tmp_path / "a.onnx", **REDDENING["pixels"])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SettingsProblem, match="cannot be opened"):
        OnnxDeOldify(path, "pixels", 2, "cpu")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsProblem, match="No such file"):
        OnnxDDColor(tmp_path / "a.onnx", "cpu")


def _with_external_weights(path, location):
    model = onnx.load(path)
    weights = model.graph.initializer[0]
    values = weights.raw_data
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    weights.external_data.add(key="length", value=str(len(values)))
    path.write_bytes(model.SerializeToString())
    return values


@pytest.mark.parametrize("folder", ["beside it", "in the current folder", "above it"])
@pytest.mark.parametrize("seen", [True, False])
def test_weights_in_other_files_are_never_read(tmp_path, monkeypatch, folder, seen):
    """Once refused by us; once, with that check off, by the empty folder that onnxruntime is given."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(tmp_path if folder == "in the current folder" else inside)
    path = export(inside / "a.onnx", **REDDENING["pixels"])
    location = "../weights.bin" if folder == "above it" else "weights.bin"
    place = inside if folder == "beside it" else tmp_path
    (place / "weights.bin").write_bytes(_with_external_weights(path, location))
    if not seen:
        monkeypatch.setattr("kwcolor_pipeline.baselines.onnx_network._EXTERNAL", b"never in a file \x00\xff")
    with pytest.raises(SettingsProblem, match="in other files" if seen else "cannot be opened"):
        OnnxDeOldify(path, "pixels", 2, "cpu")


def test_operators_of_other_libraries_are_refused(tmp_path):
    path = export(tmp_path / "a.onnx", **REDDENING["pixels"])
    model = onnx.load(path)
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SettingsProblem, match="cannot be opened"):
        OnnxDeOldify(path, "pixels", 2, "cpu")
