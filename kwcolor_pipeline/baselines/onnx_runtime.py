"""Whether ONNX files can be run here, and what to do where they cannot; light, as the command line asks."""

import importlib.util

#: How onnxruntime is had.
INSTALL = "pip install 'kwcolor_pipeline[baselines]'"


def onnxruntime_is_installed() -> bool:
    """Whether the optional package is there."""
    return importlib.util.find_spec("onnxruntime") is not None
