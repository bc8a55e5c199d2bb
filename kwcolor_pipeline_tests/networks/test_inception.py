"""The Inception network of FID, with random weights: against pytorch-fid where it is installed, and its refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import inception_v3

from kwcolor_pipeline.networks.inception import InceptionFeatures, fid_network
from kwcolor_pipeline.settings import SettingsProblem


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random weights under which nothing vanishes and nothing explodes."""
    drawn = torch.Generator().manual_seed(0)
    state = fid_network().state_dict()
    for name, tensor in state.items():
        if name.endswith(("running_var", "bn.weight")):
            tensor.uniform_(0.5, 1.5, generator=drawn)
        elif tensor.dim() > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=drawn)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1, generator=drawn)
    return state


@pytest.fixture
def weights(state: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    file = tmp_path / "inception.pth"
    torch.save(state, file)
    return file


def _pictures(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (60 + number, 90, 3), dtype=np.uint8) for number in range(count)]


def test_features_are_2048_and_do_not_depend_on_what_else_is_looked_at(weights: Path) -> None:
    pictures = _pictures(9)
    features = InceptionFeatures(weights)
    together = features(pictures)
    assert together.shape == (9, 2048)
    np.testing.assert_allclose(features(pictures[8:])[0], together[8], rtol=1e-3, atol=1e-3)


def test_features_are_those_of_pytorch_fid(
    weights: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = pytest.importorskip("pytorch_fid.inception", reason="pytorch-fid is not installed")
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: state)
    network = theirs.InceptionV3([3]).eval()
    pictures = _pictures(3)
    with torch.no_grad():
        batches = (torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float() / 255 for picture in pictures)
        expected = np.concatenate([network(batch)[0].flatten(1).numpy() for batch in batches])
    np.testing.assert_allclose(InceptionFeatures(weights)(pictures), expected, atol=1e-4)


def test_the_pooled_branches_differ_from_torchvisions_as_fids_do(state: dict[str, torch.Tensor]) -> None:
    """The padding does not count in an average, and the last block takes the maximum."""
    ours = fid_network()
    ours.load_state_dict(state)
    theirs = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).eval()
    theirs.load_state_dict(state)
    even = torch.full((1, 192, 9, 9), 0.7)
    with torch.no_grad():
        own, other = ours.Mixed_5b(even)[:, -32:], theirs.Mixed_5b(even)[:, -32:]
        # An even map stays even up to its edges where the padding is left out.
        assert torch.allclose(own, own[:, :, 4:5, 4:5].expand_as(own), atol=1e-5)
        assert torch.allclose(own[:, :, 1:-1, 1:-1], other[:, :, 1:-1, 1:-1], atol=1e-5)
        assert not torch.allclose(own[:, :, 0], other[:, :, 0], atol=1e-3)
        uneven = torch.rand(1, 2048, 5, 5, generator=torch.Generator().manual_seed(1))
        highest = torch.nn.functional.max_pool2d(uneven, 3, stride=1, padding=1)
        assert torch.allclose(ours.Mixed_7c(uneven)[:, -192:], ours.Mixed_7c.branch_pool(highest), atol=1e-5)


def test_other_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="does not exist"):
        InceptionFeatures(tmp_path / "missing.pth")
    file = tmp_path / "other.pth"
    torch.save(inception_v3(weights=None, init_weights=False).state_dict(), file)
    with pytest.raises(SettingsProblem, match="does not hold the Inception network of FID"):
        InceptionFeatures(file)
    torch.save([1, 2], file)
    with pytest.raises(SettingsProblem, match="does not hold the Inception network of FID"):
        InceptionFeatures(file)
    torch.save(Path, file)
    with pytest.raises(SettingsProblem, match="without running code"):
        InceptionFeatures(file)
