import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from kwcolor_pipeline.networks.bundle import (
    Bundle,
    load_critic,
    load_generator,
    nonfinite_tensors,
    read_bundle,
    weights_hash,
    write_bundle,
)
from kwcolor_pipeline.networks.critic import Critic
from kwcolor_pipeline.networks.encoders import BUNDLED_ENCODER
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.settings import SettingsProblem

CPU = torch.device("cpu")
WIDTHS = [16, 12, 8, 8]


def _generator_bundle(folder: Path) -> tuple[Generator, Bundle]:
    torch.manual_seed(1)
    generator = Generator(BUNDLED_ENCODER, "none", WIDTHS)
    nn.init.normal_(generator.chroma.weight)
    folder.mkdir()
    return generator, write_bundle(
        folder, "generator", generator, {"architecture": {"encoder": BUNDLED_ENCODER, "widths": WIDTHS}}
    )


@torch.no_grad()
def test_a_generator_comes_back_as_it_went(tmp_path: Path) -> None:
    generator, written = _generator_bundle(tmp_path / "bundle")
    read = read_bundle(tmp_path / "bundle")
    loaded = load_generator(read, CPU)
    lightness = torch.rand(1, 1, 32, 64) * 100
    assert torch.equal(loaded(lightness), generator.eval()(lightness))
    assert not loaded.training
    assert read == written
    assert read.weights_sha256 == weights_hash(loaded) == weights_hash(generator)
    assert nonfinite_tensors(read) == []
    generator.chroma.bias[0] = torch.inf
    write_bundle(tmp_path / "bundle", "generator", generator, read.description)
    assert nonfinite_tensors(read) == ["chroma.bias"]


@torch.no_grad()
def test_a_critic_comes_back_as_it_went(tmp_path: Path) -> None:
    critic = Critic([8, 16]).eval()
    write_bundle(tmp_path, "critic", critic, {"architecture": {"widths": [8, 16]}})
    lab = torch.rand(1, 3, 16, 16)
    assert torch.equal(load_critic(read_bundle(tmp_path), CPU)(lab), critic(lab))


def test_the_hash_is_of_names_and_values_and_nothing_else() -> None:
    first, second = nn.Conv2d(2, 3, 3), nn.Linear(4, 4)
    one = nn.Sequential(OrderedDict(a=first, b=second))
    other = nn.Sequential(OrderedDict(b=second, a=first))
    assert weights_hash(one) == weights_hash(other)
    known = weights_hash(one)
    assert weights_hash(one.to(memory_format=torch.channels_last)) == known
    with torch.no_grad():
        second.bias[0] += 1e-7 + second.bias[0].abs() * 1e-6
    assert weights_hash(one) != known
    assert weights_hash(nn.Sequential(OrderedDict(a=first, c=second))) != weights_hash(one)


def _without_weights(folder: Path) -> None:
    (folder / "generator.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    weights = folder / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _empty_weights(folder: Path) -> None:
    (folder / "generator.safetensors").write_bytes(b"")


def _without_description(folder: Path) -> None:
    (folder / "model.json").unlink()


def _described_as(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        description = json.loads((folder / "model.json").read_text())
        replaced = change(description)
        (folder / "model.json").write_text(json.dumps(description if replaced is None else replaced))

    return damage


def _binary(folder: Path) -> None:
    (folder / "model.json").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (_without_weights, "generator.safetensors is missing"),
        (_cut_weights, "generator.safetensors is damaged"),
        (_empty_weights, "generator.safetensors is damaged"),
        (_without_description, "has no model.json"),
        (_binary, "model.json is damaged"),
        (_described_as(lambda found: []), "model.json is damaged"),
        (_described_as(lambda found: found.pop("kind") and None), "model.json is damaged"),
        (_described_as(lambda found: found.pop("weights_sha256") and None), "model.json is damaged"),
        (_described_as(lambda found: found.pop("architecture") and None), "model.json describes no generator"),
        (
            _described_as(lambda found: found.update(architecture={"encoder": BUNDLED_ENCODER, "widths": [8]})),
            "describes",
        ),
        (
            _described_as(
                lambda found: found.update(architecture={"encoder": BUNDLED_ENCODER, "widths": [8, 8, 8, 8]})
            ),
            "belongs to another network",
        ),
    ],
)
def test_a_damaged_bundle_is_named(tmp_path: Path, damage: Callable[[Path], None], names: str) -> None:
    _generator_bundle(tmp_path / "bundle")
    damage(tmp_path / "bundle")
    with pytest.raises(SettingsProblem, match=names) as problem:
        load_generator(read_bundle(tmp_path / "bundle"), CPU)
    assert str(tmp_path / "bundle") in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_critic_is_no_generator(tmp_path: Path) -> None:
    write_bundle(tmp_path, "critic", Critic([8]), {"architecture": {"widths": [8]}})
    with pytest.raises(SettingsProblem, match="holds a critic, not a generator"):
        load_generator(read_bundle(tmp_path), CPU)
    with pytest.raises(SettingsProblem, match=r"has no model\.json"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(SettingsProblem, match=r"has no model\.json"):
        read_bundle(tmp_path / "critic.safetensors")
