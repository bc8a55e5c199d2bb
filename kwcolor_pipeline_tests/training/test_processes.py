"""Several processes train like one: gloo on the CPU's own address, started by torchrun."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import kwcolor_pipeline_tests
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.critic_training import train_critic
from kwcolor_pipeline.training.data import Batch, open_cache
from kwcolor_pipeline.training.losses import chroma_l1
from kwcolor_pipeline.training.paper_stages import CriticPictures
from kwcolor_pipeline.training.presets import load_preset
from kwcolor_pipeline.training.pretraining import pretrain_generator, pretraining_request
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.stages import latest, pairs_version
from kwcolor_pipeline.training.update import update
from kwcolor_pipeline_tests.small_homes import TINY, settings_for, tiny_preset
from kwcolor_pipeline_tests.training.one_of_several import STAGES, losses_of

CPU = torch.device("cpu")
PAPER = {"size": 32, "batch_size": 8, "crop_scale": 1, "encoder": "tf_efficientnet_lite0.in1k"} | {
    "encoder_weights": "none",
    "critic_widths": (8, 16, 32),
    "score_pictures": 0,
}


def torchrun(folder: Path, *command: str, count: int = 2) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {
        "PYTHONPATH": str(Path(kwcolor_pipeline_tests.__file__).parents[1]),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "KWCOLOR_HOME": str(folder / "home"),
        "KWCOLOR_DEVICE": "cpu",
        "KWCOLOR_TRAINING": json.dumps(TINY),
    }
    elastic = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(count)]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *elastic, *command],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def in_two(task: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return torchrun(folder, "-m", "kwcolor_pipeline_tests.training.one_of_several", task, str(folder), *arguments)


def none_is_left(folder: Path) -> bool:
    ids = [int(path.read_text()) for path in folder.glob("process-*.txt")]
    assert len(ids) == 2
    return not any(psutil.pid_exists(number) for number in ids)


def left_of_training(home: Path) -> list[str]:
    endings = (".checkpoint", ".panels", ".part")
    return [path.name for path in (home / "models").rglob("*") if path.suffix in endings]


def test_two_processes_have_the_losses_of_one(trained_settings: Settings, tmp_path: Path) -> None:
    done = in_two("compare", tmp_path)
    assert done.returncode == 0, done.stderr
    together = json.loads((tmp_path / "losses.json").read_text())
    for name in STAGES:
        alone = losses_of(trained_settings, name, Processes.single(CPU))
        assert set(together[name]) == set(alone) > {"train_loss"}
        for loss, values in alone.items():
            np.testing.assert_allclose(together[name][loss], values, rtol=1e-5)
        assert np.ptp(alone["train_loss"]) > 0.05  # they learn, and from different pictures


def test_a_batch_in_parts_has_the_losses_of_the_whole(trained_settings: Settings) -> None:
    for name, parts in (("pretraining", 4), ("adversarial", 2)):
        whole, in_parts = (
            losses_of(trained_settings, name, Processes.single(CPU), accumulate) for accumulate in (1, parts)
        )
        for loss, values in whole.items():
            np.testing.assert_allclose(in_parts[loss], values, rtol=1e-5)


def test_an_update_in_parts_has_the_mean_gradient_and_leaves_it_to_be_measured() -> None:
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    weight.grad = torch.full((1,), 1e6, dtype=torch.float64)  # of the step before

    def losses_of_part(part: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = (weight * part).sum()
        return loss, {"loss": loss + part}

    found = update(optimiser, [1.0, 2.0, 6.0], losses_of_part, Processes.single(CPU))
    assert weight.grad.item() == pytest.approx(3)
    assert weight.item() == pytest.approx(-3)
    assert found["loss"].item() == pytest.approx(3)
    assert not found["loss"].requires_grad


def test_a_batch_falls_into_its_parts_in_order() -> None:
    batch = Batch(torch.rand(6, 1, 4, 4), torch.rand(6, 3, 2, 2), torch.rand(6, 3, 4, 4))
    parts = batch.parts(3)
    assert [len(part.lab) for part in parts] == [2, 2, 2]
    for name in ("lightness", "lab", "rgb"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    mean = torch.stack([chroma_l1(part.lab[:, 1:], 0 * part.lab[:, 1:]) for part in parts]).mean()
    assert mean.item() == pytest.approx(chroma_l1(batch.lab[:, 1:], 0 * batch.lab[:, 1:]).item())


@pytest.mark.parametrize(
    ("ranks", "accumulate", "says"),
    [
        (3, 1, "16 pictures cannot be shared out evenly to 3 processes with 1 part each.*a multiple of 3"),
        (2, 3, "to 2 processes with 3 parts each.*KWCOLOR_TRAINING__BATCH_SIZE to a multiple of 6"),
        (1, 5, "to 1 process with 5 parts each"),
        (4, 4, "16 pictures leaves less than the two that batch statistics need.*at least 32"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(ranks: int, accumulate: int, says: str) -> None:
    with pytest.raises(SettingsProblem, match=says):
        Processes(CPU, 0, ranks).check_batch(16, accumulate)
    Processes(CPU, 0, 4).check_batch(16, 2)


def test_a_stage_refuses_it_too(small_settings: Settings) -> None:
    with pytest.raises(SettingsProblem, match="8 pictures cannot be shared out evenly to 1 process with 3 parts"):
        pretrain_generator(small_settings, tiny_preset(batch_size=8, accumulate=3), lambda record: None)


def test_processes_share_out_the_papers_pictures(small_settings: Settings, tmp_path: Path) -> None:
    home, preset = small_settings.paths, load_preset("paper", PAPER)
    cache = open_cache(home, "train", 32, pairs_version(home))
    (tmp_path / "train").mkdir()
    for number, name in enumerate(cache.photo_ids):
        pixels = np.full((32, 32, 3), 255 - number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "train" / f"{name}.png")

    def pictures(rank: int, ranks: int) -> CriticPictures:
        return CriticPictures(small_settings, preset, tmp_path, "train", CPU, rank, ranks)

    alone, several = pictures(0, 1), [pictures(rank, 3) for rank in range(3)]
    sizes = set()
    for step in range(2 * alone.steps_per_epoch):
        seen, labels = alone.at(step)
        shares = [one.at(step) for one in several]
        sizes |= {len(share) for share, _ in shares}
        assert torch.equal(torch.cat([share for share, _ in shares]), seen)
        assert torch.equal(torch.cat([share for _, share in shares]), labels)
        assert all(one.count(step) == len(labels) for one in several)
    assert len(sizes) > 1  # the last batch of an epoch is smaller


def test_alone_nothing_is_exchanged() -> None:
    processes = Processes.single(CPU)
    values = {"loss": torch.tensor(2.0)}
    assert processes.means(values)["loss"] is values["loss"]
    assert processes.any(True, False) == (True, False)
    assert processes.of_first("mine") == "mine"
    processes.agree_on("anything", "mine")
    state = torch.get_rng_state()
    processes.draw_apart("now")
    assert torch.equal(torch.get_rng_state(), state)


def test_others_draw_numbers_of_their_own_that_can_be_repeated() -> None:
    def drawn(rank: int, occasion: str) -> float:
        Processes(CPU, rank, 3).draw_apart(occasion)
        return torch.rand(()).item()

    state = torch.get_rng_state()
    assert drawn(1, "step 5") == drawn(1, "step 5")
    assert len({drawn(1, "step 5"), drawn(2, "step 5"), drawn(1, "step 6")}) == 3
    torch.set_rng_state(state)


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_processes_do_not_share_a_device(monkeypatch: pytest.MonkeyPatch, device: str, tmp_path: Path) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"), ("RANK", "0"), ("TORCHELASTIC_RUN_ID", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsProblem, match=f"share the one device `{device}`; set KWCOLOR_DEVICE=cuda or auto"):
        Processes.joined(settings_for(tmp_path).model_copy(update={"device": device}))


def test_a_training_of_one_process_imports_neither_lightning_nor_pipes() -> None:
    code = (
        "import sys, kwcolor_pipeline.training.worker;"
        "sys.exit(any(name.partition('.')[0] in ('lightning_fabric', 'dagster', 'dagster_pipes', 'mlflow')"
        " for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_that_fails_ends_all_with_its_error_named(small_settings: Settings, tmp_path: Path) -> None:
    done = in_two("fail", tmp_path, "pretrained_generator")
    assert done.returncode != 0
    cause = done.stderr.partition("Root Cause")[2]
    assert "rank      : 1" in cause
    assert "WorkerFailed: process 1 of 2" in cause
    assert "ValueError: the third picture is upside down" in cause
    assert none_is_left(tmp_path)


def test_the_first_of_two_alone_writes_and_the_result_is_kept(small_settings: Settings, tmp_path: Path) -> None:
    done = in_two("train", tmp_path, "pretrained_generator", "--set", "pretrain_lr=0.002")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1:") == 1
    assert (tmp_path / "written-by-1.txt").read_text() == ""
    written = (tmp_path / "written-by-0.txt").read_text()
    drawn = [line.rpartition("/")[2] for line in written.splitlines() if line.startswith("os.rename")]
    assert [name for name in drawn if name.startswith("epoch")] == ["epoch-0001.webp", "epoch-0002.webp"]
    request = pretraining_request(small_settings, tiny_preset(pretrain_lr=0.002))
    trained = pretrain_generator(small_settings, request.preset, lambda record: None)
    assert trained.reused
    assert trained.bundle.folder == request.folder
    assert trained.bundle.description["processes"] == 2
    assert len(trained.history) == 2
    assert left_of_training(tmp_path / "home") == []


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_folder_says_so(small_settings: Settings, tmp_path: Path) -> None:
    done = in_two("elsewhere", tmp_path, "pretrained_generator")
    assert done.returncode != 0
    assert f"does not see in {tmp_path / 'elsewhere'} what process 0 writes there" in done.stderr
    assert list((tmp_path / "home").glob(".processes-*")) == []


@pytest.mark.slow
def test_a_killed_training_goes_on_in_both(small_settings: Settings, tmp_path: Path) -> None:
    def weights() -> dict[str, torch.Tensor]:
        return load_file(latest(small_settings.paths, "pretrained_generator").bundle.folder / "generator.safetensors")

    assert in_two("train", tmp_path, "pretrained_generator").returncode == 0
    whole = weights()
    for folder in (tmp_path / "home" / "models").iterdir():
        folder.rename(tmp_path / f"first-{folder.name}")
    killed = in_two("kill", tmp_path, "pretrained_generator")
    assert killed.returncode != 0
    assert none_is_left(tmp_path)
    assert ".checkpoint" in "".join(left_of_training(tmp_path / "home"))
    again = in_two("train", tmp_path, "pretrained_generator")
    assert again.returncode == 0, again.stderr
    # The first one was writing the checkpoint of step 4, or had written it.
    assert re.search("Training goes on at step [34] of 12", again.stderr)
    assert left_of_training(tmp_path / "home") == []
    for name, tensor in weights().items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_terminated_training_saves_in_step(small_settings: Settings, tmp_path: Path) -> None:
    environment = os.environ | {"KWCOLOR_HOME": str(tmp_path / "home"), "KWCOLOR_DEVICE": "cpu"}
    environment |= {"GLOO_SOCKET_IFNAME": "lo", "KWCOLOR_TRAINING": json.dumps(TINY | {"pretrain_min_steps": 2000})}
    elastic = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    worker = ["-m", "kwcolor_pipeline.training.worker", "pretrained_generator"]
    command = [sys.executable, "-m", "torch.distributed.run", *elastic, *worker]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        models = tmp_path / "home" / "models" / "pretrained_generator"
        while process.poll() is None and not models.exists():
            time.sleep(0.1)
        time.sleep(2)  # a few steps; how many does not matter
        process.terminate()
        said = process.stderr.read()
    assert "Training was interrupted at step" in said
    assert process.returncode != 0
    assert len(list(models.glob("*.checkpoint"))) == 1


@pytest.mark.slow
def test_the_papers_stages_train_in_two(small_settings: Settings, tmp_path: Path) -> None:
    fields: dict[str, Any] = PAPER | {"pretrain_epochs": 2, "pretrain_frozen_epochs": 1, "critic_epochs": 2}
    fields |= {"gan_epochs": 2, "accumulate": 2}
    replaced = [part for key, value in fields.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    for stage in ("pretrained_generator", "critic", "gan_model"):
        command = ("-m", "kwcolor_pipeline.training.worker", stage, "--preset", "paper", *replaced)
        done = torchrun(tmp_path, *command)
        assert done.returncode == 0, done.stderr
    assert latest(small_settings.paths, "gan_model").bundle.description["processes"] == 2
    preset = load_preset("paper", TINY | fields)
    assert train_critic(small_settings, preset, lambda record: None).reused
