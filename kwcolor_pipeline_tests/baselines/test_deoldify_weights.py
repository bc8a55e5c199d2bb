"""Published weight files: only the published bytes are opened, and nothing in them runs."""

import functools
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from kwcolor_pipeline.baselines import deoldify_weights
from kwcolor_pipeline.baselines.deoldify_weights import load_published
from kwcolor_pipeline.baselines.published import ARTISTIC, Published
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.baselines.small_deoldify import lively, packed, published, saved, small

#: What fastai 1's optimiser wrapper saves: rates as a slice, the optimiser's class in a partial.
OPTIMISER = {
    "opt_state": {"state": {}, "param_groups": [{"lr": 1e-5, "betas": (0.9, 0.99)}]},
    "lr": slice(1e-6, 1e-4),
    "opt_func": functools.partial(torch.optim.Adam, betas=(0.9, 0.99)),
}


class Bomb:
    """Pickles as a call that makes a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


class SystemBomb(Bomb):
    def __reduce__(self):
        import os

        return os.system, (f"touch '{self.target}'",)


class PartialBomb(Bomb):
    """A partial over a function that is not in the allow-list."""

    def __reduce__(self):
        return functools.partial, (shutil.copy, __file__, str(self.target))


class BuildBomb(Bomb):
    """A partial that is made of an allowed class, and whose state then brings the function."""

    def __reduce__(self):
        return functools.partial, (torch.optim.Adam,), (shutil.copy, (__file__, str(self.target)), {}, None)


def refuse(path: Path, what: Published, says: str) -> None:
    with pytest.raises(SettingsProblem, match=says) as refused:
        load_published(path, what, small)
    text = str(refused.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("content", ["with optimiser", "weights alone"])
def test_a_file_as_it_was_published_is_loaded(tmp_path, archive, content):
    network = lively(small())
    state = network.state_dict()
    what = saved(
        tmp_path / "a.pth",
        {"model": state, "opt": OPTIMISER} if content == "with optimiser" else state,
        archive=archive,
    )
    loaded = load_published(tmp_path / "a.pth", what, small)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(x), network(x))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_another_hash_is_refused_before_anything_is_unpickled(tmp_path, monkeypatch):
    what = saved(tmp_path / "a.pth", {"model": small().state_dict(), "opt": {}})
    data = bytearray((tmp_path / "a.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was opened"))
    refuse(tmp_path / "a.pth", what, "another sha256")


@pytest.mark.parametrize(
    ("bytes_of", "says"), [(lambda data: data[:-100], "cut short"), (lambda data: data + b"0", "more")]
)
def test_another_size_is_refused(tmp_path, bytes_of, says):
    what = saved(tmp_path / "a.pth", small().state_dict())
    (tmp_path / "a.pth").write_bytes(bytes_of((tmp_path / "a.pth").read_bytes()))
    refuse(tmp_path / "a.pth", what, says)


def test_no_setting_opens_another_file_than_the_published_one(tmp_path):
    saved(tmp_path / "a.pth", small().state_dict())
    refuse(tmp_path / "a.pth", ARTISTIC, ARTISTIC.sha256)


def test_a_file_much_larger_than_the_published_one_is_not_read(tmp_path):
    path = tmp_path / "a.pth"
    with path.open("wb") as handle:
        handle.truncate(2**40)  # a hole: reading it would take hours
    refuse(path, Published("Small_gen.pth", "0" * 64, 1000), "more bytes")


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("cut", [10, 0.3, 0.9])
def test_a_truncated_file_is_refused_even_if_its_hash_were_known(tmp_path, cut, archive):
    path = tmp_path / "a.pth"
    saved(path, {"model": small().state_dict(), "opt": OPTIMISER}, archive=archive)
    data = path.read_bytes()
    path.write_bytes(data[: cut if cut > 1 else int(cut * len(data))])
    refuse(path, published(path), "damaged")


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("bomb", [Bomb, SystemBomb, PartialBomb, BuildBomb])
@pytest.mark.parametrize("place", ["opt", "model"])
def test_code_in_a_file_does_not_run_even_if_its_hash_were_known(tmp_path, archive, bomb, place):
    target = tmp_path / "made by the file"
    content = {"model": small().state_dict(), "opt": dict(OPTIMISER)}
    content[place]["payload"] = bomb(target)
    what = saved(tmp_path / "a.pth", content, archive=archive)
    refuse(tmp_path / "a.pth", what, "names `")
    assert not target.exists()


def test_the_bombs_are_live(tmp_path):
    """What the test before proves would be nothing if the payloads did nothing when they are unpickled."""
    for bomb in (Bomb, SystemBomb):
        pickle.loads(pickle.dumps(bomb(tmp_path / bomb.__name__)))
        assert (tmp_path / bomb.__name__).exists()


def test_a_bare_pickle_is_refused(tmp_path):
    target = tmp_path / "made by the file"
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Bomb(target), protocol=2))
    with pytest.raises(SettingsProblem):
        load_published(tmp_path / "a.pth", published(tmp_path / "a.pth"), small)
    assert not target.exists()


def test_allowed_classes_are_not_made_and_not_left_allowed(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(torch.optim.Adam, "__init__", lambda *arguments, **_: made.append(arguments))
    what = saved(tmp_path / "a.pth", {"model": small().state_dict(), "opt": OPTIMISER})
    allowed = set(torch.serialization.get_safe_globals())
    load_published(tmp_path / "a.pth", what, small)
    assert made == []
    assert set(torch.serialization.get_safe_globals()) == allowed
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)


def test_the_allow_list_is_exactly_what_fastai_saves():
    assert deoldify_weights.OPTIMISER_CLASSES == ("builtins.slice", "functools.partial", "torch.optim.adam.Adam")


def test_a_packed_archive_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    saved(path, {"model": {"zeros": torch.zeros(4_000_000)}, "opt": {}}, archive=True)
    packed(path)
    assert path.stat().st_size < 100_000
    refuse(path, published(path), "packed")


@pytest.mark.parametrize("content", [[1, 2], {"model": [1]}, {"model": {"layers.1.weight": 3}}, torch.zeros(3)])
def test_what_holds_no_weights_is_refused(tmp_path, content):
    what = saved(tmp_path / "a.pth", content)
    refuse(tmp_path / "a.pth", what, "something else")


def test_weights_of_another_network_are_refused(tmp_path):
    what = saved(tmp_path / "a.pth", {"model": small(wide=True).state_dict(), "opt": {}})
    refuse(tmp_path / "a.pth", what, "another network")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refuse(tmp_path / "none.pth", ARTISTIC, "No such file")
    refuse(tmp_path, ARTISTIC, "directory")
