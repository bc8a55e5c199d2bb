"""The RGB and grey spaces that pictures come in: what an ICC profile says of light, and values of light.

Belongs here: profiles that are curves and, for RGB, a matrix, as those of sRGB, Adobe RGB, ProPhoto, Display P3 and of
grey scans are (ICC.1:2022, sections 8.3 and 10). Profiles of tables, as those of printers, are not read here.
"""

import functools
import struct
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from kwcolor_pipeline.colour.lab import FROM_XYZ, TO_XYZ, linear_to_srgb, srgb_to_linear

Table = NDArray[np.float32]

#: Bradford's matrix, which takes XYZ to the cones' answers (ICC.1:2022, annex E).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
#: White of profiles, and of sRGB, in whose Lab the networks think.
_D50, _D65 = np.array([0.9642, 1.0, 0.8249]), np.array([0.95047, 1.0, 1.08883])
#: Steps of the tables that look values up by the root of light, in which every curve is nearly straight.
_STEPS = 1 << 16
_KNOWN_CURVES = (b"curv", b"para")


class UnknownProfile(ValueError):
    """A profile that is not made of curves and a matrix."""


@dataclass(frozen=True, eq=False)
class RgbSpace:
    """An RGB space: a matrix between linear RGB and XYZ (white is 1, 1, 1), and a curve for each channel.

    ``curves`` gives the linear light of values 0..65535 of red, green and blue; None is sRGB's own curve. ``profile``
    is the ICC profile that a picture in this space carries.
    """

    to_xyz: torch.Tensor = field(default_factory=lambda: TO_XYZ)
    from_xyz: torch.Tensor = field(default_factory=lambda: FROM_XYZ)
    curves: tuple[Table, Table, Table] | None = None
    profile: bytes | None = None

    def light_of_levels(self, top: int) -> list[Table]:
        """Linear light of the values 0..``top`` of red, green and blue."""
        levels = np.arange(top + 1) / top
        if self.curves is None:
            return [srgb_to_linear(torch.from_numpy(levels)).numpy().astype(np.float32)] * 3
        return [np.interp(levels, np.linspace(0, 1, len(c)), c).astype(np.float32) for c in self.curves]

    def encode(self, linear: torch.Tensor) -> torch.Tensor:
        """Values 0..1 of linear light (3, …) in 0..1."""
        if self.curves is None:
            return linear_to_srgb(linear)
        place = linear.sqrt().mul_(_STEPS - 1)
        lower = place.to(torch.int64).clamp_(max=_STEPS - 2)
        share = place.sub_(lower)
        tables = [torch.from_numpy(table).to(linear.device) for table in _inverses(self)]
        return torch.stack(
            [
                torch.lerp(table[one], table[one + 1], part)
                for table, one, part in zip(tables, lower, share, strict=True)
            ]
        )


SRGB = RgbSpace()


@functools.lru_cache(maxsize=8)
def _inverses_of(key: bytes, length: int) -> list[Table]:
    curves = np.frombuffer(key, np.float32).reshape(3, length)
    light = np.linspace(0, 1, _STEPS) ** 2
    return [np.interp(light, curve, np.linspace(0, 1, length)).astype(np.float32) for curve in curves]


def _inverses(space: RgbSpace) -> list[Table]:
    """For each channel the values whose light is that of the steps."""
    assert space.curves is not None
    return _inverses_of(np.stack(space.curves).tobytes(), len(space.curves[0]))


def light_to_srgb_levels(light: Table) -> NDArray[np.uint16]:
    """The sRGB grey 0..65535 of linear light, by table."""
    place = np.sqrt(light.clip(0, 1)) * (_STEPS - 1)
    return _srgb_levels().take((place + 0.5).astype(np.int32))


@functools.cache
def _srgb_levels() -> NDArray[np.uint16]:
    light = torch.linspace(0, 1, _STEPS, dtype=torch.float64) ** 2
    return (linear_to_srgb(light) * 65535).round().numpy().astype(np.uint16)


def rgb_space(profile: bytes) -> RgbSpace:
    """The space of an RGB profile.

    Raises UnknownProfile for one of grey or CMYK, one made of tables, and a damaged one.
    """
    if profile[16:20] != b"RGB ":
        raise UnknownProfile("it is not of RGB")
    tags = _tags(profile)
    if b"A2B0" in tags:
        raise UnknownProfile("it is made of tables")
    try:
        columns = [_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        red, green, blue = (_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
    except KeyError as missing:
        raise UnknownProfile(f"it has no {missing.args[0].decode()}") from missing
    to_d65 = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D65) / (_BRADFORD @ _D50)) @ _BRADFORD
    to_xyz = torch.from_numpy((to_d65 @ np.array(columns).T) / _D65[:, None])
    to_xyz = to_xyz / to_xyz.sum(dim=1, keepdim=True)  # white is exactly (1, 1, 1), whatever was rounded
    try:
        from_xyz = torch.linalg.inv(to_xyz)
    except torch.linalg.LinAlgError as error:
        raise UnknownProfile("its primaries lie on a line") from error
    if not (to_xyz.isfinite().all() and from_xyz.isfinite().all()):
        raise UnknownProfile("its primaries are no colours")
    space = RgbSpace(to_xyz, from_xyz, (red, green, blue), profile)
    return RgbSpace(profile=profile) if _is_srgb(space) else space


def _is_srgb(space: RgbSpace) -> bool:
    """Whether only rounding, of the profile's numbers, is between the space and sRGB."""
    assert space.curves is not None
    alike = all(is_srgb_curve(curve) for curve in space.curves)
    return alike and float((space.to_xyz - TO_XYZ).abs().max()) < 2e-3


def is_srgb_curve(curve: Table) -> bool:
    """Whether only the rounding of a profile's numbers is between the curve of values 0..65535 and sRGB's."""
    return float(np.abs(curve - SRGB.light_of_levels(65535)[0]).max()) < 2e-4


def grey_curve(profile: bytes) -> Table:
    """Linear light of the grey values 0..65535 by a grey profile.

    Raises UnknownProfile for any other profile and for a damaged one.
    """
    if profile[16:20] != b"GRAY":
        raise UnknownProfile("it is not of grey")
    tags = _tags(profile)
    if b"kTRC" not in tags:
        raise UnknownProfile("it has no curve")
    return _curve(tags[b"kTRC"])


def _tags(profile: bytes) -> dict[bytes, bytes]:
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        entries = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(min(count, 200))]
    except struct.error as error:
        raise UnknownProfile("it is damaged") from error
    return {name: profile[start : start + length] for name, start, length in entries}


def _fixed(data: bytes, count: int, start: int) -> list[float]:
    """Numbers in the format s15Fixed16."""
    try:
        return [number / 65536 for number in struct.unpack_from(f">{count}i", data, start)]
    except struct.error as error:
        raise UnknownProfile("it is damaged") from error


def _xyz(data: bytes) -> NDArray[np.float64]:
    return np.array(_fixed(data, 3, 8))


def _curve(data: bytes) -> Table:
    """Linear light of the values 0..65535; a curve never falls and leads from 0..1 to 0..1."""
    values = np.linspace(0, 1, 1 << 16)
    if data[:4] not in _KNOWN_CURVES or len(data) < 12:
        raise UnknownProfile("its curves are of an unknown kind")
    with np.errstate(all="ignore"):  # what is no number is refused below
        light = _tabulated(data, values) if data[:4] == b"curv" else _parametric(data, values)
    if not np.isfinite(light).all() or light[-1] <= light[0]:
        raise UnknownProfile("its curves do not rise")
    return np.maximum.accumulate(light.clip(0, 1)).astype(np.float32)


def _tabulated(data: bytes, values: NDArray[np.float64]) -> NDArray[np.float64]:
    (count,) = struct.unpack_from(">I", data, 8)
    if count == 0:
        return values
    if 2 * count > len(data) - 12:
        raise UnknownProfile("it is damaged")
    points = np.frombuffer(data, ">u2", count, 12).astype(np.float64)
    if count == 1:
        return np.asarray(values ** (points[0] / 256))
    return np.interp(values, np.linspace(0, 1, count), points / 65535)


#: Parameters of each kind of parametric curve (ICC.1:2022, table 68).
_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}


def _parametric(data: bytes, values: NDArray[np.float64]) -> NDArray[np.float64]:
    (kind,) = struct.unpack_from(">H", data, 8)
    if kind not in _PARAMETERS:
        raise UnknownProfile("its curves are of an unknown kind")
    g, *rest = _fixed(data, _PARAMETERS[kind], 12)
    a, b, c, d, e, f = (rest + [0.0] * 6)[:6] if kind else (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    # Kinds 1 and 2 begin to bend at -b/a and are level before; 2 and 4 are raised by a constant.
    match kind:
        case 1:
            c, d, e, f = 0.0, -b / a if a else 0.0, 0.0, 0.0
        case 2:
            c, d, e, f = 0.0, -b / a if a else 0.0, c, c
        case 3:
            e, f = 0.0, 0.0
    return np.where(values >= d, np.maximum(a * values + b, 0) ** g + e, c * values + f)
