"""What a photograph shows, in a few numbers: near for crops, captions and turned copies, where hashes are far apart.

Belongs here: grey pictures as arrays in, unit vectors out. Which photographs are embedded does not.
"""

import functools

import numpy as np
import numpy.typing as npt
import torch

from kwcolor_pipeline.networks.features import lite0_features_of_batch

#: Raise it when the same picture would get other numbers.
EMBEDDING_VERSION = "1"
#: Numbers of a photograph.
LENGTH = 256
#: Side in pixels of the square that a picture is squeezed to. Lite0 needs 9 times the time at 224.
SIDE = 112

_FEATURES = 1280


@functools.cache
def _projection() -> npt.NDArray[np.float32]:
    """[1280, LENGTH] random directions: they keep angles within a few hundredths (Johnson and Lindenstrauss, 1984)."""
    drawn = np.random.Generator(np.random.PCG64(1935)).standard_normal((_FEATURES, LENGTH))
    return drawn.astype(np.float32)


def embed(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
    """Unit vectors [n, LENGTH] of grey pictures uint8 [n, SIDE, SIDE]: EfficientNet-Lite0's pooled features, projected.

    Grey, so that a colour photograph and its black-and-white copy are the same.
    """
    rgb = torch.from_numpy(grey).float().div(255)[:, None].expand(-1, 3, -1, -1)
    features = lite0_features_of_batch(rgb, SIDE).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    projected = features @ _projection()
    return (projected / np.linalg.norm(projected, axis=1, keepdims=True)).astype(np.float16)
