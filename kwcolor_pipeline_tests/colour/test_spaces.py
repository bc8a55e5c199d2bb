"""Profiles of curves and a matrix, against LittleCMS; profiles that are neither are refused."""

import struct

import imagecodecs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from kwcolor_pipeline.colour.lab import TO_XYZ
from kwcolor_pipeline.colour.spaces import SRGB, UnknownProfile, grey_curve, light_to_srgb_levels, rgb_space

SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
#: Colorants of Adobe RGB (1998) for D50, as its profile has them, and of ProPhoto.
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def profile_of(tags: dict[bytes, bytes], space: bytes = b"RGB ") -> bytes:
    """A display profile, version 2.4, of these tags."""
    white = b"XYZ \0\0\0\0" + _fixed(0.9642, 1.0, 0.8249)
    text = b"text\0\0\0\0none\0"
    tags = {b"wtpt": white, b"cprt": text, b"desc": b"desc\0\0\0\0\0\0\0\x02x\0" + bytes(78), **tags}
    place, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(data))
        body += data
    header = bytearray(128)
    header[8:12] = bytes([2, 0x40, 0, 0])
    header[12:24] = b"mntr" + space + b"XYZ "
    header[36:40] = b"acsp"
    header[68:80] = _fixed(0.9642, 1.0, 0.8249)
    header[0:4] = struct.pack(">I", place + len(body))
    return bytes(header) + table + body


def rgb_profile(colorants: tuple[tuple[float, ...], ...], curve: bytes) -> bytes:
    names = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")
    columns = {name: b"XYZ \0\0\0\0" + _fixed(*column) for name, column in zip(names[0], colorants, strict=True)}
    return profile_of({**columns, **dict.fromkeys(names[1], curve)})


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def table_curve(values: np.ndarray) -> bytes:
    points = (values * 65535).round().astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(points)) + points.tobytes()


CURVES = {
    "gamma": gamma(2.2),
    "straight": b"curv\0\0\0\0\0\0\0\0",
    "table": table_curve(np.linspace(0, 1, 257) ** 1.8),
    "para": b"para\0\0\0\0\0\x03\0\0" + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
}


@pytest.mark.parametrize("colorants", [ADOBE, PROPHOTO])
@pytest.mark.parametrize("curve", CURVES)
def test_light_of_a_profile_is_littlecmss(colorants, curve: str) -> None:
    profile = rgb_profile(colorants, CURVES[curve])
    space = rgb_space(profile)
    rgb = np.random.default_rng(0).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    # Through LittleCMS to linear sRGB, which may not be left, and so of greyish colours.
    rgb = (32768 + (rgb.astype(int) - 32768) // 12).astype(np.uint16)
    linear_srgb = rgb_profile(
        ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)), CURVES["straight"]
    )
    expected = imagecodecs.cms_transform(rgb, profile, linear_srgb, colorspace="rgb", outcolorspace="rgb") / 65535
    light = np.stack([table[rgb[..., c]] for c, table in enumerate(space.light_of_levels(65535))])
    ours = np.einsum("ij,jhw->hwi", (torch.linalg.inv(TO_XYZ) @ space.to_xyz).numpy(), light)
    assert np.abs(ours - expected).max() < 1.5e-3
    back = (space.encode(torch.from_numpy(light)) * 65535).round().numpy()
    assert np.abs(back - np.moveaxis(rgb, -1, 0)).max() <= 1


def test_srgbs_own_profile_is_srgb_to_the_bit() -> None:
    space = rgb_space(SRGB_PROFILE)
    assert space.curves is None
    assert torch.equal(space.to_xyz, SRGB.to_xyz)
    assert space.profile == SRGB_PROFILE


def test_grey_of_a_gray_gamma() -> None:
    curve = grey_curve(profile_of({b"kTRC": gamma(2.2)}, b"GRAY"))
    assert curve[32768] == pytest.approx(0.5**2.2, abs=1e-3)
    assert light_to_srgb_levels(np.array([0, 0.2158605, 1], np.float32)).tolist() == pytest.approx(
        [0, 32896, 65535], abs=2
    )


def test_every_srgb_grey_of_16_bits_comes_back() -> None:
    light = SRGB.light_of_levels(65535)[0]
    assert np.abs(light_to_srgb_levels(light).astype(int) - np.arange(65536)).max() <= 1


def test_what_is_not_of_curves_and_a_matrix_is_refused() -> None:
    adobe = rgb_profile(ADOBE, gamma(2.2))
    cases = {
        "not of RGB": profile_of({b"kTRC": gamma(2.2)}, b"GRAY"),
        "made of tables": profile_of({b"A2B0": b"mft2" + bytes(60)}),
        "no rXYZ": profile_of({}),
        "damaged": adobe[:140],
        "on a line": rgb_profile((ADOBE[0], ADOBE[0], ADOBE[0]), gamma(2.2)),
        "do not rise": rgb_profile(ADOBE, table_curve(np.linspace(1, 0, 9))),
        "unknown kind": rgb_profile(ADOBE, b"abcd" + bytes(12)),
    }
    for says, profile in cases.items():
        with pytest.raises(UnknownProfile, match=says):
            rgb_space(profile)
    with pytest.raises(UnknownProfile, match="not of grey"):
        grey_curve(adobe)


@settings(max_examples=200)
@given(st.data())
def test_a_broken_profile_is_a_space_or_refused(data: st.DataObject) -> None:
    broken = bytearray(rgb_profile(ADOBE, CURVES[data.draw(st.sampled_from(sorted(CURVES)))]))
    for _ in range(data.draw(st.integers(1, 6))):
        broken[data.draw(st.integers(128, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        space = rgb_space(bytes(broken[: data.draw(st.integers(128, len(broken)))]))
    except UnknownProfile:
        return
    assert space.encode(torch.rand(3, 4, 4)).isfinite().all()
