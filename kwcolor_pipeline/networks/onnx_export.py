"""A bundle's generator as an ONNX file, for programs that have no PyTorch.

Belongs here: the file and what it says of itself. It holds the network alone: what a picture is shrunk to, and how
chroma and lightness become a picture, is in ``colorize``.
"""

import json
import warnings
from pathlib import Path

import torch

from kwcolor_pipeline.home import atomic_path
from kwcolor_pipeline.networks.bundle import Bundle, load_generator
from kwcolor_pipeline.networks.generator import STRIDE
from kwcolor_pipeline.settings import SettingsProblem

#: Understood by ONNX Runtime since 1.12.
_OPSET = 17
#: A side that no stage of the network shrinks to less than its kernels.
_EXAMPLE_SIDE = 5 * STRIDE


def export_onnx(bundle: Bundle, path: Path) -> None:
    """Write the bundle's generator to ``path``, atomically.

    Its input `lightness` is CIE L* float32 (N, 1, H, W) in 0..100, H and W multiples of 32; its output `chroma` is a*
    and b*, float32 (N, 2, H/2, W/2) for a generator of this project, (N, 2, H, W) for one of the paper's recipe. The
    file's metadata names the weights, and the shortest sides and the strength with which the model does best, if any.

    Raises SettingsProblem where the package onnx is missing, and when the bundle holds no generator.
    """
    try:
        import onnx
    except ImportError as error:
        raise SettingsProblem(
            "Exporting needs the package onnx; install it with `pip install 'kwcolor_pipeline[onnx]'`."
        ) from error
    network = load_generator(bundle, torch.device("cpu"))
    sides = {0: "pictures", 2: "height", 3: "width"}
    with atomic_path(path) as temporary:
        with warnings.catch_warnings():
            # The newer exporter, which it warns of, needs one more package.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (torch.zeros(1, 1, _EXAMPLE_SIDE, _EXAMPLE_SIDE + STRIDE),),
                str(temporary),
                dynamo=False,
                opset_version=_OPSET,
                input_names=["lightness"],
                output_names=["chroma"],
                dynamic_axes={"lightness": sides, "chroma": {0: "pictures", 2: "chroma_height", 3: "chroma_width"}},
            )
        model = onnx.load(str(temporary))
        model.producer_name = "kwcolor_pipeline"
        told = {
            "weights_sha256": bundle.weights_sha256,
            "rendering": json.dumps(bundle.description.get("rendering", {})),
        }
        onnx.helper.set_model_props(model, told)
        onnx.save(model, str(temporary))
