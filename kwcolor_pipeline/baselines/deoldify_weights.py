"""Reading DeOldify's published weight files without running anything that is in them.

Belongs here: how bytes become weights. Which files there are is in `published`, the networks are in
`deoldify_network`.

A file is read once. What is unpickled are the bytes whose sha256 was compared, not what lies in the file by
then; no setting takes other bytes. Beside the weights the files hold the state of fastai's optimiser, which
names classes. PyTorch's restricted unpickler (``weights_only=True``) calls nothing but what it is given; here
it is given one class that throws its arguments away (:class:`_Forgotten`) under exactly the names that such a
state needs, so that not even `functools.partial` itself is made from a file.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from kwcolor_pipeline.baselines.deoldify_network import DeOldifyUnet
from kwcolor_pipeline.baselines.published import Published
from kwcolor_pipeline.settings import SettingsProblem

#: Classes that fastai 1's optimiser state names: rates given as slices, and AdamW made from Adam by `partial`.
OPTIMISER_CLASSES = ("builtins.slice", "functools.partial", "torch.optim.adam.Adam")
#: Where fastai puts the weights when it saves the optimiser's state beside them.
_MODEL = "model"
_ZIP = b"PK\x03\x04"


class _Forgotten:
    """What stands for a class that a file names: takes anything and keeps nothing."""

    def __new__(cls, *_: object) -> "_Forgotten":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def load_published(path: Path, published: Published, build: Callable[[], DeOldifyUnet]) -> DeOldifyUnet:
    """The network that ``build`` makes, with the weights of the published file at ``path``, in evaluation mode.

    Raises SettingsProblem when the file is missing, is not the published one, names a class that weights do
    not need, is damaged, or belongs to another network.
    """
    state = _state_dict(path, _checked_bytes(path, published))
    with torch.device("meta"):  # no memory and no random weights for what is replaced at once
        network = build()
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise SettingsProblem(f"{path} holds the weights of another network than {published.file}.") from error
    return network.float().eval().requires_grad_(False)


def _checked_bytes(path: Path, published: Published) -> bytes:
    """The file's bytes, if they are the published ones. No more than those are ever read."""
    remedy = f"give the original {published.file} ({published.size:,} bytes, sha256 {published.sha256})"
    try:
        with path.open("rb") as handle:
            data = handle.read(published.size + 1)
    except OSError as error:
        raise SettingsProblem(f"{path} cannot be read ({error.strerror}); {remedy}.") from error
    if len(data) != published.size:
        found = "has more bytes" if len(data) > published.size else f"has {len(data):,} bytes and is cut short"
        raise SettingsProblem(f"{path} {found}; {remedy}.")
    if hashlib.sha256(data).hexdigest() != published.sha256:
        raise SettingsProblem(f"{path} has another sha256 and is not opened; {remedy}.")
    return data


def _state_dict(path: Path, data: bytes) -> dict[str, torch.Tensor]:
    """Names and tensors of a file that fastai saved, with or without the optimiser's state."""
    _refuse_packed(path, data)
    try:
        with torch.serialization.safe_globals([(_Forgotten, name) for name in OPTIMISER_CLASSES]):
            saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise SettingsProblem(f"{path} names `{named[1]}`, which weights do not need; it is not opened.") from error
        raise SettingsProblem(f"{path} is damaged and cannot be read as weights; get the original file.") from error
    state = saved.get(_MODEL, saved) if isinstance(saved, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise SettingsProblem(f"{path} holds something else than the weights of a network.")
    return state


def _refuse_packed(path: Path, data: bytes) -> None:
    """Refuse a zip archive with compressed entries: it could become any size. PyTorch stores its own as they are."""
    if not data.startswith(_ZIP):  # what PyTorch goes by as well
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise SettingsProblem(f"{path} is a damaged archive; get the original file.") from error
    if packed:
        raise SettingsProblem(f"{path} is packed, so that it could become any size; weight files are not.")
