"""What every generator is measured by while it learns: the validation photographs and its score on them.

Belongs here: one pass over the validation split. What the score is made of is in ``losses``.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.data import Batch, centre_crops, open_cache
from kwcolor_pipeline.training.losses import FEWEST_FOR_FRECHET, DistributionScore, ValidationScore
from kwcolor_pipeline.training.presets import Preset
from kwcolor_pipeline.training.stages import pairs_version


def arithmetic(preset: Preset, device: torch.device) -> AbstractContextManager[object]:
    """The autocast context that the preset asks for; Lab and losses stay float32 outside of it."""
    if preset.precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


class Validation:
    """The validation split's centre crops, and a generator's score on them.

    By the distribution of its pictures where the preset asks for that and there are enough photographs, else by
    the mean chroma error: see :class:`DistributionScore` and :class:`ValidationScore`.
    """

    def __init__(self, settings: Settings, preset: Preset, device: torch.device):
        home = settings.paths
        cache = open_cache(home, "valid", preset.size, pairs_version(home))
        self._preset, self._device = preset, device
        self._batches = list(centre_crops(cache, preset.size, preset.batch_size, device))
        looked_at = min(preset.score_pictures, len(cache))
        enough = looked_at >= FEWEST_FOR_FRECHET
        self._distribution = DistributionScore(self._batches, looked_at) if enough else None

    @property
    def batches(self) -> list[Batch]:
        """The validation photographs' centres, unaugmented."""
        return self._batches

    @torch.no_grad()
    def _predicted(self, generator: nn.Module) -> list[torch.Tensor]:
        """a*, b* (N, 2, h, w) of each batch."""
        chroma = []
        for batch in self._batches:
            with arithmetic(self._preset, self._device):
                chroma.append(generator(batch.lightness).float())
        return chroma

    def score(self, generator: nn.Module) -> dict[str, float]:
        score, chroma = ValidationScore(), self._predicted(generator)
        for batch, predicted in zip(self._batches, chroma, strict=True):
            score.add(predicted, batch.lab[:, 1:])
        return score.result() | (self._distribution.of(torch.cat(chroma)) if self._distribution else {})

    def colour_gain(self, generator: nn.Module, most: float) -> float:
        """See :meth:`DistributionScore.colour_gain`; 1 where there are too few photographs to say."""
        if self._distribution is None:
            return 1.0
        return self._distribution.colour_gain(torch.cat(self._predicted(generator)), most)
