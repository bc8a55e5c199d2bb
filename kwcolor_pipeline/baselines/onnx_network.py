"""One network in an ONNX file: opened without anything but the file itself, looked at, and run.

Belongs here: the file and the session. What goes in and comes out of DeOldify and DDColor is in
`onnx_colorizers`.

The file's operators are those that come with onnxruntime: no library is ever registered. Weights that lie in
other files are refused before the file is opened, and where one is named in a way that this does not see,
onnxruntime looks for it in an empty folder.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kwcolor_pipeline.baselines.onnx_runtime import INSTALL, onnxruntime_is_installed
from kwcolor_pipeline.networks.devices import pick_device
from kwcolor_pipeline.settings import SettingsProblem

Array = NDArray[np.float32]

#: Protobuf, ONNX' format, holds no more in one file.
_LARGEST = 2**31
#: Field 1 of an entry of `external_data` with the key `location`: a file that holds a tensor's numbers.
_EXTERNAL = b"\x0a\x08location"
#: Pixels a side; a file that names more would take memory without end.
_LARGEST_SIDE = 2048
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxNetwork:
    """A network that takes one square picture of 3 channels and gives one of ``channels``.

    Args:
        path: the ONNX file.
        channels: what the first output has to have.
        device: KWCOLOR_DEVICE; a GPU is used where the installed onnxruntime can.

    Raises SettingsProblem when the file is missing, is no ONNX file, needs other files, or has inputs and
    outputs of another shape.
    """

    def __init__(self, path: Path, channels: int, device: str):
        self._path = path
        self._channels = channels
        self._session = _session(path, device)
        self._input = self._checked_input()
        #: Pixels a side; None where the file takes any.
        self.side: int | None = self._input.shape[2] if isinstance(self._input.shape[2], int) else None
        shape = self._session.get_outputs()[0].shape
        if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != channels):
            raise SettingsProblem(f"{path} gives {_told(shape)} and not 1 x {channels} x S x S; it is another network.")

    def __call__(self, picture: Array) -> Array:
        """Float32 (1, 3, S, S) to float32 (1, channels, S, S).

        Raises SettingsProblem when the network cannot compute it, or gives another shape or no numbers.
        """
        given = picture.astype(_TYPES[self._input.type])
        try:
            output = self._session.run([self._session.get_outputs()[0].name], {self._input.name: given})[0]
        except Exception as error:
            raise SettingsProblem(f"{self._path} cannot be run: {_reason(error)}.") from error
        expected = (1, self._channels, *picture.shape[2:])
        if output.shape != expected:
            raise SettingsProblem(f"{self._path} gives {_told(output.shape)} and not {_told(expected)}.")
        result = output.astype(np.float32)
        if not np.isfinite(result).all():
            raise SettingsProblem(f"{self._path} gives values that are no numbers; take an export in float32.")
        return result

    def _checked_input(self) -> Any:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        square = (
            len(shape) == 4
            and (shape[0] == 1 or not isinstance(shape[0], int))
            and shape[1] == 3
            and (shape[2] == shape[3] or not (isinstance(shape[2], int) or isinstance(shape[3], int)))
        )
        if not square:
            found = " and ".join(_told(given.shape) for given in inputs)
            raise SettingsProblem(f"{self._path} takes {found} and not 1 x 3 x S x S; it is another network.")
        if isinstance(shape[2], int) and not 1 <= shape[2] <= _LARGEST_SIDE:
            raise SettingsProblem(
                f"{self._path} takes {shape[2]} pixels a side; take an export for {_LARGEST_SIDE} at most."
            )
        if inputs[0].type not in _TYPES:
            raise SettingsProblem(f"{self._path} takes {inputs[0].type}; take an export in float32 or float16.")
        return inputs[0]


def _session(path: Path, device: str) -> Any:
    if not onnxruntime_is_installed():
        raise SettingsProblem(f"{path} needs onnxruntime; install it with `{INSTALL}`.")
    import onnxruntime

    data = _self_contained(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised as well
    options.add_session_config_entry("session.load_model_format", "ONNX")
    wanted = ["CPUExecutionProvider"]
    if pick_device(device).type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        wanted.insert(0, "CUDAExecutionProvider")
    with tempfile.TemporaryDirectory() as nothing:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", nothing)
        try:
            return onnxruntime.InferenceSession(data, options, providers=wanted)
        except Exception as error:
            raise SettingsProblem(f"{path} cannot be opened as an ONNX file: {_reason(error)}.") from error


def _self_contained(path: Path) -> bytes:
    """The file's bytes, if its weights are in it."""
    try:
        with path.open("rb") as handle:
            data = handle.read(_LARGEST + 1)
    except OSError as error:
        raise SettingsProblem(f"{path} cannot be read ({error.strerror}); give an ONNX file.") from error
    if len(data) > _LARGEST:
        raise SettingsProblem(f"{path} has more than 2 GiB, which no ONNX file has.")
    if _EXTERNAL in data:
        raise SettingsProblem(f"{path} keeps its weights in other files; export it with the weights in one file.")
    return data


def _told(shape: Sequence[object]) -> str:
    return " x ".join(str(side) if isinstance(side, int) else "?" for side in shape)


def _reason(error: Exception) -> str:
    """The first line of onnxruntime's message, at most 200 characters of it."""
    return str(error).strip().partition("\n")[0].rstrip(".")[:200] or type(error).__name__
