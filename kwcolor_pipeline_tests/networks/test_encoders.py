import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from kwcolor_pipeline.networks import encoders
from kwcolor_pipeline.networks.encoders import BUNDLED_ENCODER, build_encoder, lite0_classifier
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.photos.pictures import wheel_file


def test_the_bundled_weights_know_a_cat_and_a_cup() -> None:
    classifier = lite0_classifier()

    def best(name: str) -> set[int]:
        square = Image.open(wheel_file("skimage", f"data/{name}.png")).convert("RGB").resize((224, 224))
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() / 127.5 - 1
        return set(classifier(pixels)[0].topk(3).indices.tolist())

    assert best("chelsea") & {281, 282, 285}  # tabby, tiger cat, Egyptian cat
    assert best("coffee") & {967, 968, 504}  # espresso, cup, coffee mug


def test_the_bundled_encoder_is_the_classifier_without_its_head() -> None:
    encoder, classifier = build_encoder(BUNDLED_ENCODER, "bundled").eval(), lite0_classifier().state_dict()
    assert all(torch.equal(tensor, classifier[name]) for name, tensor in encoder.state_dict().items())
    features = encoder(torch.zeros(1, 3, 64, 96))
    assert [tuple(feature.shape[2:]) for feature in features] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize(
    ("name", "weights", "says"),
    [
        ("resnet3000", "none", "no encoder `resnet3000`"),
        ("tf_efficientnet_lite0.nonsense", "none", "cannot build the encoder"),
        ("", "none", "no encoder ``"),
        ("hf-hub:somebody/something", "hub", "no encoder"),
        ("resnet18.tv_in1k", "bundled", f"exist for {BUNDLED_ENCODER} only"),
        ("resnet18.tv_in1k", "missing.pth", "does not exist"),
        ("resnet18.tv_in1k", "missing.safetensors", "does not exist"),
        ("convnext_atto", "none", r"strides \[4, 8, 16, 32\]"),
        ("vit_tiny_patch16_224", "none", "strides"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_sentence(
    name: str, weights: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsProblem, match=says) as problem:
        build_encoder(name, weights)
    assert "\n" not in str(problem.value)


class _Code:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def test_code_in_a_weights_file_is_refused_and_not_executed(tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    torch.save({"conv1.weight": _Code(executed)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(_Code(executed)))
    torch.save(timm.create_model("resnet18"), tmp_path / "whole_model.pth")
    (tmp_path / "disguised.safetensors").write_bytes((tmp_path / "zip.pth").read_bytes())
    for name in ("zip.pth", "bare.pth", "whole_model.pth", "disguised.safetensors"):
        with pytest.raises(SettingsProblem, match=f"{name} cannot be read as weights") as problem:
            build_encoder("resnet18", str(tmp_path / name))
        assert "\n" not in str(problem.value)
    assert not executed.exists()
    with zipfile.ZipFile(tmp_path / "zip.pth") as stored:  # the trap was a real one
        assert b"touch" in stored.read(next(name for name in stored.namelist() if name.endswith("data.pkl")))


def test_a_file_of_the_right_weights_is_taken_and_others_are_refused(tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in timm.create_model("resnet18").state_dict().items()}
    save_file(state, tmp_path / "good.safetensors")
    torch.save(state, tmp_path / "good.pth")
    for name in ("good.safetensors", "good.pth"):
        encoder = build_encoder("resnet18.tv_in1k", str(tmp_path / name))
        assert torch.equal(encoder.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    torch.save({"state_dict": state}, tmp_path / "nested.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(state | {"conv1.weight": torch.zeros(3, 3)}, tmp_path / "shape.pth")
    for name in ("nested.pth", "list.pth", "shape.pth"):
        with pytest.raises(SettingsProblem, match=f"{name} do not fit `resnet18`"):
            build_encoder("resnet18", str(tmp_path / name))


def test_an_unreachable_hub_is_said_with_the_ways_around(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(encoders.timm, "create_model", offline)
    with pytest.raises(SettingsProblem, match=r"cannot be downloaded \(ConnectionError\).*bundled"):
        build_encoder("resnet34.tv_in1k", "hub")
