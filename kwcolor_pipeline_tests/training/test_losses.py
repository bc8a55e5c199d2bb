import itertools
import math
from pathlib import Path

import pytest
import requests
import torch
from torchvision.models import vgg16

from kwcolor_pipeline.colour.lab import lab_to_rgb_clipped
from kwcolor_pipeline.networks import vgg
from kwcolor_pipeline.networks.encoders import BUNDLED_ENCODER
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.averaging import AveragedNetwork
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.loop import one_cycle, set_rates
from kwcolor_pipeline.training.losses import (
    DistributionScore,
    FeatureDistance,
    Lite0Distance,
    ValidationScore,
    Vgg16Distance,
    chroma_l1,
    critic_hinge,
    generator_hinge,
    obtain_perceptual_weights,
    perceptual_distance,
    perceptual_features,
)
from kwcolor_pipeline.training.validation import Validation
from kwcolor_pipeline_tests.small_homes import PHOTOGRAPHS, tiny_preset


def test_chroma_l1_counts_twenty_units_as_one() -> None:
    assert float(chroma_l1(torch.full((1, 2, 3, 3), 10.0), torch.full((1, 2, 3, 3), -30.0))) == 2


def test_hinge_values() -> None:
    sure, unsure = torch.tensor([2.0, 1.0]), torch.tensor([0.0, 0.0])
    assert float(critic_hinge(sure, -sure)) == 0
    assert float(critic_hinge(unsure, unsure)) == 1
    assert float(critic_hinge(-sure, sure)) == 2.5
    assert float(generator_hinge(torch.tensor([3.0, -1.0]))) == -1


def _score(*pairs: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    score = ValidationScore()
    for predicted, truth in pairs:
        score.add(predicted, truth)
    return score.result()


def test_the_score_ranks_truth_over_pale_over_grey() -> None:
    truth = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 20
    perfect, pale, grey = _score((truth, truth)), _score((truth / 2, truth)), _score((truth * 0, truth))
    assert perfect == {"valid_chroma_error": 0, "valid_chroma_ratio": 1, "score": 0}
    assert 0 < pale["score"] < grey["score"]
    assert grey["valid_chroma_ratio"] == 0
    # Grey's error is the mean chroma, and its chroma lacks as much: one and a half times that.
    assert grey["score"] == pytest.approx(1.5 * float(truth.norm(dim=1).mean()))


def test_the_score_weighs_pictures_by_their_pixels_and_not_by_batch() -> None:
    truth = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(1)) * 20
    predicted = truth.flip(0)
    whole = _score((predicted, truth))
    split = _score((predicted[:4], truth[:4]), (predicted[4:], truth[4:]))
    assert split == pytest.approx(whole)
    assert _score((truth, truth * 0))["valid_chroma_ratio"] > 1e6  # of a grey truth: large, and not a division by zero


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the right shapes under torchvision's names, classifier included but small."""
    torch.manual_seed(0)
    state = {name: tensor for name, tensor in vgg16(weights=None).state_dict().items() if name.startswith("features.")}
    file = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, file)
    return file


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"


@pytest.mark.parametrize("features", ["lite0", "vgg16"])
def test_a_feature_distance_is_zero_for_equals_and_leads_towards_the_truth(features: str, vgg_file: Path) -> None:
    distance: FeatureDistance = Lite0Distance() if features == "lite0" else Vgg16Distance(vgg_file)
    torch.manual_seed(0)
    truth = torch.cat([torch.rand(1, 1, 32, 32) * 100, torch.randn(1, 2, 32, 32) * 20], dim=1)
    assert float(distance(truth, truth)) == 0
    grey = torch.cat([truth[:, :1], torch.zeros(1, 2, 32, 32)], dim=1).requires_grad_()
    loss = distance(grey, truth)
    loss.backward()
    assert grey.grad is not None
    assert grey.grad[:, 1:].isfinite().all()
    assert grey.grad[:, 1:].abs().sum() > 0
    assert not any(weight.requires_grad for weight in distance.parameters())
    with torch.no_grad():
        half = torch.cat([truth[:, :1], truth[:, 1:] / 2], dim=1)
        assert 0 < float(distance(half, truth)) < float(loss)


@pytest.mark.parametrize("features", ["lite0", "vgg16"])
def test_half_precision_of_the_features_leaves_the_loss_and_its_direction(features: str, vgg_file: Path) -> None:
    distance: FeatureDistance = Lite0Distance() if features == "lite0" else Vgg16Distance(vgg_file)
    torch.manual_seed(0)
    truth = torch.cat([torch.rand(2, 1, 32, 32) * 100, torch.randn(2, 2, 32, 32) * 20], dim=1)
    found = []
    for enabled in (False, True):
        grey = torch.cat([truth[:, :1], torch.zeros(2, 2, 32, 32)], dim=1).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = distance(grey, truth)
        loss.backward()
        assert grey.grad is not None
        found.append((loss.detach(), grey.grad[:, 1:].flatten()))
    (single, direction), (half, other) = found
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(single), rel=0.02)
    assert float(torch.nn.functional.cosine_similarity(direction, other, dim=0)) > 0.85


@pytest.mark.parametrize("lightness", [0.0, 50.0, 100.0])
def test_the_gradient_of_a_feature_distance_stays_small_in_flat_places(lightness: float, vgg_file: Path) -> None:
    flat = torch.full((1, 3, 32, 32), 0.0)
    flat[:, 0] = lightness
    impossible = flat.clone()
    impossible[:, 1] = 150.0
    for distance in (Lite0Distance(), Vgg16Distance(vgg_file)):
        predicted = impossible.clone().requires_grad_()
        distance(predicted, flat).backward()
        assert predicted.grad is not None
        assert float(predicted.grad.abs().max()) < 1


def test_vgg16s_features_are_torchvisions_before_its_poolings(vgg_file: Path) -> None:
    reference = vgg16(weights=None).features.eval()
    reference.load_state_dict(vgg.load_vgg16(vgg_file).features.state_dict(), strict=False)
    rgb = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    normalised = (rgb - vgg.load_vgg16(vgg_file).mean) / vgg.load_vgg16(vgg_file).std
    expected = [reference[:9], reference[:16], reference[:23]]
    for ours, theirs in zip(vgg.load_vgg16(vgg_file)(rgb), expected, strict=True):
        assert torch.equal(ours, theirs(normalised))


@pytest.mark.parametrize("broken", ["shape", "missing", "no file", "no weights", "a list"])
def test_other_files_than_vgg16s_are_refused_in_one_sentence(broken: str, vgg_file: Path, tmp_path: Path) -> None:
    state, file = torch.load(vgg_file, weights_only=True), tmp_path / "weights.pth"
    if broken == "shape":
        torch.save({**state, "features.5.weight": torch.zeros(128, 64, 5, 5)}, file)
    elif broken == "missing":
        torch.save({name: tensor for name, tensor in state.items() if name != "features.21.bias"}, file)
    elif broken == "no weights":
        file.write_bytes(b"nothing of the kind")
    elif broken == "a list":
        torch.save([1, 2], file)
    says = {"no file": "does not exist", "no weights": "cannot be read"}.get(broken, "does not hold the weights of VGG")
    with pytest.raises(SettingsProblem, match=says) as problem:
        perceptual_distance(str(file))
    assert "\n" not in str(problem.value)
    assert str(file) in str(problem.value)


def test_what_the_weights_mean_is_said_for_the_record(empty_hub: Path, vgg_file: Path) -> None:
    lite0 = {"features": BUNDLED_ENCODER, "weights": "bundled"}
    assert perceptual_features("bundled") == perceptual_features("auto") == lite0
    assert isinstance(perceptual_distance("auto"), Lite0Distance)
    from_file = perceptual_features(str(vgg_file))
    assert from_file["features"] == "vgg16"
    assert len(from_file["weights_sha256"]) == 64
    assert isinstance(perceptual_distance(str(vgg_file)), Vgg16Distance)
    empty_hub.parent.mkdir(parents=True)
    empty_hub.write_bytes(vgg_file.read_bytes())
    hub = {"features": "vgg16", "weights": "vgg16-397923af.pth"}
    assert perceptual_features("auto") == perceptual_features("hub") == hub
    assert isinstance(perceptual_distance("auto"), Vgg16Distance)
    assert "vgg16" in obtain_perceptual_weights("auto")


def test_without_a_network_auto_falls_back_and_says_so_and_hub_is_refused(
    empty_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(vgg.requests, "head", unreachable)
    assert "bundled Lite0 features" in (said := obtain_perceptual_weights("auto"))
    assert "VGG16 cannot be downloaded (ConnectionError)" in said
    assert perceptual_features("auto")["weights"] == "bundled"
    with pytest.raises(SettingsProblem, match="VGG16 cannot be downloaded"):
        obtain_perceptual_weights("hub")
    with pytest.raises(SettingsProblem, match="does not exist"):
        perceptual_distance("hub")
    assert BUNDLED_ENCODER in obtain_perceptual_weights("bundled")
    assert not empty_hub.exists()


def _split(count: int, side: int = 32) -> list[Batch]:
    """Smooth coloured pictures in batches of 16."""
    random = torch.Generator().manual_seed(count)
    lab = torch.nn.functional.interpolate(torch.randn(count, 3, 4, 4, generator=random), side, mode="bicubic")
    lab = lab * torch.tensor([15.0, 20.0, 20.0]).view(1, 3, 1, 1) + torch.tensor([55.0, 0, 0]).view(1, 3, 1, 1)
    half = torch.nn.functional.avg_pool2d(lab, 2)
    whole, rgb = lab[:, :1], lab_to_rgb_clipped(lab)
    return [Batch(whole[a : a + 16], half[a : a + 16], rgb[a : a + 16]) for a in range(0, count, 16)]


def test_the_distribution_score_is_0_for_the_originals_2_for_grey_and_between_for_pale_and_too_much() -> None:
    split = _split(20)
    truth = torch.cat([batch.lab[:, 1:] for batch in split])
    score = DistributionScore(split, most=60)
    made = {share: score.of(truth * share) for share in (1.0, 0.6, 1.6, 0.0)}
    assert made[1.0]["score"] == pytest.approx(0, abs=1e-3)
    assert made[0.0]["score"] == pytest.approx(2)
    assert 0.2 < made[0.6]["score"] < 1.5
    assert made[1.6]["score"] > 0.2
    assert made[1.6]["valid_colourfulness_distance"] > 0
    assert score.of(truth.roll(1, 0))["score"] > 0.01  # the right colourfulness, and the colours of others
    assert set(made[0.0]) == {"valid_frechet_lite0", "valid_colourfulness_distance", "score"}


def test_the_distribution_score_looks_at_no_more_photographs_than_asked() -> None:
    split = _split(20)
    truth = torch.cat([batch.lab[:, 1:] for batch in split])
    score = DistributionScore(split, most=8)
    others = truth.clone()
    others[score._chosen] = 0
    assert len(score._chosen.unique()) == 8
    assert {0, 19} < set(score._chosen.tolist())
    assert score.of(others)["score"] == pytest.approx(2)
    assert score.of(truth)["score"] == pytest.approx(0, abs=1e-3)


def test_the_colour_gain_makes_pale_pictures_as_colourful_as_the_originals_and_stays_in_its_limits() -> None:
    split = _split(20)
    truth = torch.cat([batch.lab[:, 1:] for batch in split])
    score = DistributionScore(split, most=60)
    assert score.colour_gain(truth, 2.0) == pytest.approx(1, rel=0.01)
    assert score.colour_gain(truth / 1.4, 2.0) == pytest.approx(1.4, rel=0.01)
    assert score.colour_gain(truth * 1.2, 2.0) == pytest.approx(1 / 1.2, rel=0.01)
    assert score.colour_gain(truth / 4, 2.0) == pytest.approx(2, rel=0.01)


def test_few_validation_photographs_are_scored_by_their_chroma_error(
    small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")

    def grey(lightness: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(lightness), 2, lightness.shape[2] // 2, lightness.shape[3] // 2)

    few = Validation(small_settings, tiny_preset(), cpu).score(grey)  # type: ignore[arg-type]
    assert set(few) == {"valid_chroma_error", "valid_chroma_ratio", "score"}
    assert few["score"] == pytest.approx(1.5 * few["valid_chroma_error"])
    monkeypatch.setattr("kwcolor_pipeline.training.validation.FEWEST_FOR_FRECHET", 2)
    enough = Validation(small_settings, tiny_preset(), cpu).score(grey)  # type: ignore[arg-type]
    assert enough["score"] == pytest.approx(2)
    assert enough["valid_chroma_error"] == few["valid_chroma_error"]
    assert PHOTOGRAPHS < 50
    off = Validation(small_settings, tiny_preset(score_pictures=0), cpu).score(grey)  # type: ignore[arg-type]
    assert off == few


def test_one_cycle_rises_to_one_and_falls_without_a_jump() -> None:
    rates = [one_cycle(step / 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == pytest.approx(1)
    assert rates.index(max(rates)) == 200
    assert rates[-1] == pytest.approx(1e-3)
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.01
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([{"params": [weight], "peak_lr": 0.5}], lr=1)
    set_rates(optimiser, 0.1)
    assert optimiser.param_groups[0]["lr"] == 0.05


def test_the_average_warms_up_and_copies_counters() -> None:
    source = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    average = AveragedNetwork(source, decay=0.9)
    assert not average.network.training
    with torch.no_grad():
        source[0].weight.fill_(1)
        average.network[0].weight.zero_()
        source[1].num_batches_tracked.fill_(7)
    average.update(source, 0)
    assert float(average.network[0].weight) == pytest.approx(0.9)  # decay (1 + 0) / (10 + 0)
    average.network[0].weight.zero_()
    average.update(source, 10_000)
    assert float(average.network[0].weight) == pytest.approx(0.1)
    assert int(average.network[1].num_batches_tracked) == 7
    assert math.isfinite(float(average.network[1].running_var))


def test_the_average_follows_weights_and_batch_statistics_after_both_were_restored() -> None:
    source = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    average = AveragedNetwork(source, decay=0.5)
    average.update(source, 0)
    restored = {name: torch.full_like(tensor, 4) for name, tensor in source.state_dict().items()}
    source.load_state_dict(restored)
    average.network.load_state_dict({name: tensor * 0 for name, tensor in restored.items()})
    average.update(source, 10_000)
    assert float(average.network[0].weight) == float(average.network[1].running_mean) == 2
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    other.load_state_dict({name: tensor * 2 for name, tensor in restored.items()})
    average.update(other, 10_000)
    assert float(average.network[0].weight) == 5
