"""Small ONNX files as exports of DeOldify and DDColor are: same inputs and outputs, simple arithmetic inside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx: Any = pytest.importorskip("onnx", reason="needs the package onnx to make a file")
pytest.importorskip("onnxruntime", reason="needs the extra `baselines` (onnxruntime)")

Side = int | str


def export(
    path: Path,
    mix: Sequence[Sequence[float]],
    shift: Sequence[float],
    *,
    side: Side = 32,
    scale: float = 1.0,
    limits: tuple[float, float] | None = None,
    half: bool = False,
    inputs: Sequence[Sequence[Side]] | None = None,
    batch: Side = 1,
) -> Path:
    """A network that mixes channels (``mix`` rows are outputs), adds ``shift``, times ``scale``, cut at ``limits``."""
    helper, numpy_helper, proto = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    kind, dtype = (proto.FLOAT16, np.float16) if half else (proto.FLOAT, np.float32)
    constants = {
        "mix": np.array(mix, dtype).reshape(len(mix), -1, 1, 1),
        "shift": np.array(shift, dtype),
        "scale": np.array(scale, dtype),
    }
    nodes = [
        helper.make_node("Conv", ["input", "mix", "shift"], ["mixed"]),
        helper.make_node("Mul", ["mixed", "scale"], ["scaled"]),
    ]
    if limits:
        constants |= {"low": np.array(limits[0], dtype), "high": np.array(limits[1], dtype)}
        nodes.append(helper.make_node("Clip", ["scaled", "low", "high"], ["output"]))
    else:
        nodes.append(helper.make_node("Identity", ["scaled"], ["output"]))
    shapes = inputs or [[batch, 3, side, side]]
    names = ["input", *(f"input{number}" for number in range(1, len(shapes)))]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in zip(names, shapes, strict=True)],
        [helper.make_tensor_value_info("output", kind, [batch, len(mix), side, side])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    # An old version of the format: every onnxruntime reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
