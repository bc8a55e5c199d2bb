import numpy as np
import pytest
import torch
from skimage import data

from kwcolor_pipeline.networks.features import frechet_distance, lite0_features, lite0_features_of_batch


def test_a_batch_on_the_device_has_the_features_of_its_pictures() -> None:
    pictures = [data.astronaut()[:256, :256], data.chelsea()[:256, :256]]
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    known, made = lite0_features(pictures), lite0_features_of_batch(batch)
    assert made.shape == known.shape == (2, 1280)
    between = np.linalg.norm(known[0] - known[1])
    assert np.linalg.norm(made - known, axis=1).max() < 0.05 * between  # scaled without rounding to levels
    assert lite0_features_of_batch(batch, side=128).shape == (2, 1280)


def test_a_frechet_distance_needs_two_photographs_and_equal_columns() -> None:
    with pytest.raises(ValueError, match="two photographs"):
        frechet_distance(np.zeros((1, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="columns"):
        frechet_distance(np.zeros((3, 4)), np.zeros((3, 5)))
