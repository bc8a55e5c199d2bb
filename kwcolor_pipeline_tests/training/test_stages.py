"""The three real stages on tiny networks."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import kwcolor_pipeline_tests
from kwcolor_pipeline.home import Result
from kwcolor_pipeline.networks.bundle import load_critic, load_generator, read_bundle, weights_hash
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training import loop, stages
from kwcolor_pipeline.training.adversarial import Adversarial, adversarial_request, train_gan
from kwcolor_pipeline.training.critic_training import critic_request, train_critic
from kwcolor_pipeline.training.pretraining import Pretraining, pretrain_generator, pretraining_request
from kwcolor_pipeline.training.preview import preview_of
from kwcolor_pipeline.training.stages import existing, is_latest, latest
from kwcolor_pipeline_tests.small_homes import tiny_preset, train_all

STAGES = ("pretrained_generator", "critic", "gan_model")


def forbidden(*_: Any) -> None:
    raise AssertionError("this was trained again")


def quiet(record: dict[str, float]) -> None:
    pass


def test_the_stages_leave_whole_bundles_and_nothing_else(trained_settings: Settings) -> None:
    home, preset = trained_settings.paths, tiny_preset()
    requests = (pretraining_request, critic_request, adversarial_request)
    for name, request in zip(STAGES, (make(trained_settings, preset) for make in requests), strict=True):
        assert {path.name for path in (home.models / name).iterdir()} == {request.folder.name, "result.json"}
        assert is_latest(request)
        trained = latest(home, name)
        kind = "critic" if name == "critic" else "generator"
        files = {"model.json", "result.json", "history.json", "README.md", f"{kind}.safetensors"}
        files |= {"preview.webp"} if kind == "generator" else set()
        assert {path.name for path in trained.bundle.folder.iterdir()} == files
        load = load_critic if kind == "critic" else load_generator
        assert weights_hash(load(trained.bundle, torch.device("cpu"))) == trained.result.data_version
        assert len(trained.history) == 2
        assert trained.bundle.description["asked"] == json.loads(json.dumps(request.asked))
        card = (trained.bundle.folder / "README.md").read_text()
        count = trained.bundle.description["training_pictures"]
        assert f"{count} photographs of 1942 to 1942, from folder ({count})." in card
        pairs = trained.bundle.description["asked"]["pairs"]
        for said in (
            "preset `demo`",
            f"| CC0 | {count} |",
            f"`{pairs}`",
            "| batch_size | 4 |",
            "| score |",
            "## Limits",
        ):
            assert said in card
        assert "learning_rate" not in card
    with Image.open(latest(home, "gan_model").bundle.folder / "preview.webp") as preview:
        assert preview.width >= 3 * 128


def test_the_same_request_is_answered_without_training(
    trained_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "train", forbidden)
    for train in (pretrain_generator, train_critic, train_gan):
        assert train(trained_settings, tiny_preset(), forbidden).reused


def test_training_is_repeatable(trained_settings: Settings, tmp_path: Path) -> None:
    other = trained_settings.model_copy(update={"home": tmp_path / "other"})
    shutil.copytree(trained_settings.home, other.home)
    shutil.rmtree(other.paths.models)
    shutil.rmtree(other.paths.pairs / "cache")
    known = [latest(trained_settings.paths, name).bundle.weights_sha256 for name in STAGES]
    assert train_all(other, tiny_preset()) == known
    assert len(set(known)) == 3


def test_a_field_of_the_gan_trains_only_the_gan_anew_and_back_again(trained_settings: Settings) -> None:
    home, preset, changed = trained_settings.paths, tiny_preset(), tiny_preset(gan_adversarial_weight=0.5)
    first = latest(home, "gan_model").result
    assert pretrain_generator(trained_settings, changed, forbidden).reused
    assert train_critic(trained_settings, changed, forbidden).reused
    assert not is_latest(adversarial_request(trained_settings, changed))
    assert existing(adversarial_request(trained_settings, changed)) is None
    second = train_gan(trained_settings, changed, quiet)
    assert not second.reused
    assert second.result.data_version != first.data_version
    assert latest(home, "gan_model").result == second.result
    back = train_gan(trained_settings, preset, forbidden)
    assert back.reused
    assert latest(home, "gan_model").result == back.result == first


def test_other_pairs_or_another_encoder_file_are_another_request(trained_settings: Settings, tmp_path: Path) -> None:
    home, preset = trained_settings.paths, tiny_preset()
    weights = tmp_path / "encoder.pth"
    weights.write_bytes(b"one")
    from_file = tiny_preset(encoder_weights=str(weights))
    before = pretraining_request(trained_settings, from_file).fingerprint
    weights.write_bytes(b"two")
    assert pretraining_request(trained_settings, from_file).fingerprint != before
    record = Result.read(home.pairs / "result.json")
    assert record is not None
    Result(record.fingerprint, "0" * 64, record.summary).write(home.pairs / "result.json")
    assert not is_latest(pretraining_request(trained_settings, preset))
    assert not is_latest(critic_request(trained_settings, preset))


def test_a_bundle_that_was_deleted_is_trained_again(trained_settings: Settings) -> None:
    request = pretraining_request(trained_settings, tiny_preset())
    known = latest(trained_settings.paths, "pretrained_generator").bundle.weights_sha256
    shutil.rmtree(request.folder)
    assert not is_latest(request)
    again = pretrain_generator(trained_settings, tiny_preset(), quiet)
    assert not again.reused
    assert again.bundle.weights_sha256 == known
    assert read_bundle(request.folder) == again.bundle


def test_a_stage_without_its_inputs_says_what_to_run(small_settings: Settings) -> None:
    with pytest.raises(SettingsProblem, match=r"no pretrained_generator yet.*--select pretrained_generator"):
        train_critic(small_settings, tiny_preset(), quiet)
    (small_settings.paths.pairs / "result.json").unlink()
    with pytest.raises(SettingsProblem, match="no grayscale pairs yet"):
        pretrain_generator(small_settings, tiny_preset(), quiet)


def test_pretraining_learns(small_settings: Settings) -> None:
    fields = {"pretrain_epochs": 6, "pretrain_min_steps": 30, "pretrain_lr": 1e-3, "ema_decay": 0.8}
    preset = tiny_preset(encoder_weights="bundled", **fields)
    history = pretrain_generator(small_settings, preset, quiet).history
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    best = min(history, key=lambda record: record["score"])
    assert best["valid_chroma_ratio"] > 0.15
    assert best["score"] < history[0]["score"]


def test_the_gans_colours_are_as_strong_as_photographs_in_the_end(
    trained_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kwcolor_pipeline.training.validation.FEWEST_FOR_FRECHET", 2)
    asked = {"gan_epochs": 1, "gan_min_steps": 3}
    plain = train_gan(trained_settings, tiny_preset(**asked), quiet).bundle
    gained = train_gan(trained_settings, tiny_preset(**asked, gan_colour_gain=3.0), quiet).bundle
    before, after = (bundle.description["validation"] for bundle in (plain, gained))
    gain = after["colour_gain"]
    assert 1 < gain <= 3
    assert "colour_gain" not in before
    assert after["valid_colourfulness_distance"] < before["valid_colourfulness_distance"]
    assert f"colour_gain | {gain:.4g}" in (gained.folder / "README.md").read_text()
    lightness = torch.rand(1, 1, 32, 32) * 100
    networks = (load_generator(bundle, torch.device("cpu")) for bundle in (plain, gained))
    expected, given = (network(lightness) for network in networks)
    torch.testing.assert_close(given, expected * gain)


def _interrupted(monkeypatch: pytest.MonkeyPatch, stage: type, at: int, train: Callable[[], object]) -> None:
    original = stage.step  # type: ignore[attr-defined]

    def step(self: Any, batch: Any, number: int, progress: float) -> Any:
        if number == at:
            raise KeyboardInterrupt
        return original(self, batch, number, progress)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "step", step)
        with pytest.raises(KeyboardInterrupt):
            train()


@pytest.mark.parametrize("at", [1, 6])
def test_an_interrupted_stage_goes_on_to_the_same_weights(
    trained_settings: Settings, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
    home = trained_settings.paths
    for name, stage, train in (
        ("pretrained_generator", Pretraining, pretrain_generator),
        ("gan_model", Adversarial, train_gan),
    ):
        known = latest(home, name).bundle
        shutil.rmtree(known.folder)
        _interrupted(monkeypatch, stage, at, lambda train=train: train(trained_settings, tiny_preset(), quiet))  # type: ignore[misc]
        assert list((home.models / name).glob("*.checkpoint"))
        assert train(trained_settings, tiny_preset(), quiet).bundle.weights_sha256 == known.weights_sha256
        assert not list((home.models / name).glob("*.checkpoint"))


def test_every_epoch_shows_the_same_photographs_growing_colours(small_settings: Settings) -> None:
    preset = tiny_preset(pretrain_epochs=3, pretrain_min_steps=45, pretrain_lr=3e-3, encoder="test_efficientnet")
    request = pretraining_request(small_settings, preset)
    panels: list[np.ndarray] = []

    def on_epoch(record: dict[str, float]) -> None:
        path = request.panel(int(record["epoch"]))
        assert path.name == f"epoch-000{record['epoch']:.0f}.webp"
        assert path.stat().st_size < 60_000
        with Image.open(path) as panel:
            panels.append(np.asarray(panel.convert("RGB")).astype(int))

    pretrain_generator(small_settings, preset, on_epoch)
    assert not request.panel(1).parent.exists()

    def colourfulness(column: int) -> list[float]:
        width = panels[0].shape[1] // 3
        cells = [panel[:, column * width + 8 : (column + 1) * width - 8] for panel in panels]
        return [float((cell.max(axis=2) - cell.min(axis=2)).mean()) for cell in cells]

    assert max(colourfulness(0)) < 4  # grey
    assert colourfulness(1)[2] > colourfulness(1)[0] + 1  # colorized
    assert np.ptp(colourfulness(2)) < 1  # the original
    greys = [panel[:, : panel.shape[1] // 3 - 8] for panel in panels]
    assert np.abs(greys[0] - greys[2]).mean() < 1  # the same photographs, up to WebP


def test_a_drawn_network_stays_in_its_mode(small_settings: Settings, tmp_path: Path) -> None:
    generator = Generator("test_efficientnet", "none", (8, 8, 8, 8))
    for training in (True, False):
        generator.train(training)
        preview_of(small_settings)(generator, tmp_path / "preview.webp")
        assert {module.training for module in generator.modules()} == {training}


def test_checkpoints_of_other_requests_are_told_and_not_used(
    small_settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = tiny_preset(pretrain_lr=0.5)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
        _interrupted(patch, Pretraining, 3, lambda: pretrain_generator(small_settings, other, quiet))
    [left] = (small_settings.paths.models / "pretrained_generator").glob("*.checkpoint")
    caplog.clear()
    pretrain_generator(small_settings, tiny_preset(), quiet)
    assert f"{left} is of another request (other pairs, preset or code)" in caplog.text
    assert not left.exists()


def test_too_little_memory_names_the_batch_to_set(small_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(self: Pretraining, *_: Any) -> Any:
        return {"train_loss": torch.empty(10**15)}

    monkeypatch.setattr(Pretraining, "step", too_large)
    with pytest.raises(SettingsProblem, match=r"batches of 4 pictures; half.*set KWCOLOR_TRAINING__BATCH_SIZE=2\."):
        pretrain_generator(small_settings, tiny_preset(), quiet)


def test_other_errors_stay_what_they_are(small_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Pretraining, *_: Any) -> Any:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Pretraining, "step", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        pretrain_generator(small_settings, tiny_preset(), quiet)


def test_perceptual_losses_and_half_precision_train_too(trained_settings: Settings) -> None:
    preset = tiny_preset(
        precision="bfloat16", pretrain_perceptual_weight=1.0, gan_perceptual_weight=1.0, pretrain_epochs=1, gan_epochs=1
    )
    assert "perceptual_loss" in pretrain_generator(trained_settings, preset, quiet).history[0]
    train_critic(trained_settings, preset, quiet)
    assert "perceptual_loss" in train_gan(trained_settings, preset, quiet).history[0]


_KILLED_STAGE = """
import os, signal, sys
from pathlib import Path
from kwcolor_pipeline.training import loop
from kwcolor_pipeline.training.adversarial import Adversarial
from kwcolor_pipeline.training.critic_training import CriticTraining
from kwcolor_pipeline.training.pretraining import Pretraining
from kwcolor_pipeline_tests.small_homes import settings_for, tiny_preset, train_all

home, victim, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
loop._CHECKPOINT_SECONDS = -1

def killing(original):
    def step(self, batch, number, progress):
        if number == at:
            # Half a checkpoint and half a bundle, as if the kill had come while they were written.
            [checkpoint] = (home / "models").glob("*/*.checkpoint")
            (checkpoint.parent / ".half.checkpoint.1-abcd.part").write_bytes(b"half")
            (checkpoint.parent / ".half.1-abcd.part").mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, batch, number, progress)
    return step

for stage in (Pretraining, CriticTraining, Adversarial):
    if stage.__name__ == victim:
        stage.step = killing(stage.step)
print(*train_all(settings_for(home), tiny_preset()))
"""


@pytest.mark.slow
def test_killed_stages_end_with_the_weights_of_an_uninterrupted_run(trained_settings: Settings) -> None:
    home = trained_settings.paths
    known = [latest(home, name).bundle.weights_sha256 for name in STAGES]
    shutil.rmtree(home.models)
    shutil.rmtree(home.pairs / "cache")

    environment = os.environ | {"PYTHONPATH": str(Path(kwcolor_pipeline_tests.__file__).parents[1])}

    def run(victim: str, at: int) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", _KILLED_STAGE, str(home.root), victim, str(at)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)

    for victim, at in (("Pretraining", 6), ("CriticTraining", 3), ("Adversarial", 5)):
        assert run(victim, at).returncode == -signal.SIGKILL
    finished = run("nobody", 0)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == known
    left = [
        path for path in home.root.rglob("*") if path.name.startswith(".") or path.suffix in (".checkpoint", ".part")
    ]
    assert left == []
