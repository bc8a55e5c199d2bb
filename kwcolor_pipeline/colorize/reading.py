"""Picture files to photographs: pixels at their own depth, upright, in grey, and what the file tells besides.

Belongs here: the formats that are read, and what is made of their pixels. Writing is in ``files``.

TIFF is read by tifffile, JPEG 2000 by imagecodecs' OpenJPEG, HEIC by pillow-heif, because Pillow has no RGB of 16 bits;
a PNG of 16 bits by imagecodecs for the same reason; everything else by Pillow.
"""

import functools
import logging
import mmap
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from kwcolor_pipeline.colorize import metadata as tags
from kwcolor_pipeline.colorize.jp2 import read_boxes
from kwcolor_pipeline.colorize.merge import Grey
from kwcolor_pipeline.colorize.metadata import NO_METADATA, Metadata, Tree
from kwcolor_pipeline.colour.spaces import (
    SRGB,
    RgbSpace,
    UnknownProfile,
    grey_curve,
    is_srgb_curve,
    light_to_srgb_levels,
    rgb_space,
)
from kwcolor_pipeline.home import sha256_of

log = logging.getLogger(__name__)

Pixels = NDArray[Any]

#: Formats that Pillow reads here; nothing that runs a program, as PostScript does.
_PILLOW = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP")
#: Pixels that are turned to grey at once.
_AT_ONCE = 2_000_000
#: Longest side of the small copy of a picture with colours, and levels between the channels that are more than grey.
_LOOKED_AT, _SEEN = 800, 4


class UnreadablePhotograph(Exception):
    """A file that cannot be colorized; the message is one sentence that names it and why."""


@dataclass(frozen=True)
class Photograph:
    """A picture as the colorizer takes it.

    Args:
        path: the file, for sentences about it.
        sha256: of the file.
        frames: grey (H, W) of each page, upright, in sRGB's curve: uint8, or uint16 where 8 bits would lose something.
        depth: bits of a channel in the file, 8 or 16, and so in the result.
        space: the RGB space that the result is in, with the profile that it carries.
        metadata: what the file tells besides.
        pil_format: Pillow's name of the file's format.
        colours: a small copy of the first page, RGB uint8, where the file has more than grey: a tone, or colours.
        left_out: pages and pictures of an animation that are not among the frames.
    """

    path: Path
    sha256: str
    frames: tuple[Grey, ...]
    depth: int = 8
    space: RgbSpace = SRGB
    metadata: Metadata = NO_METADATA
    pil_format: str = "PNG"
    colours: NDArray[np.uint8] | None = None
    left_out: int = 0

    @property
    def gray(self) -> NDArray[np.uint8]:
        """The first page in 8 bits."""
        return in_eight_bits(self.frames[0])


@dataclass(frozen=True)
class _Limit:
    """The most pixels of all pages together, and the setting that says so."""

    pixels: int
    setting: str

    def check(self, path: Path, *sizes: tuple[int, int]) -> None:
        """Raise UnreadablePhotograph where pages of these widths and heights have more."""
        if sum(width * height for width, height in sizes) > self.pixels:
            width, height = sizes[0]
            pages = f" on {len(sizes)} pages" if len(sizes) > 1 else ""
            raise UnreadablePhotograph(
                f"{shown(path)} has {width} x {height} pixels{pages}, more than the {self.pixels:,} that "
                f"{self.setting} allows."
            )


@dataclass(frozen=True)
class _Decoded:
    """Pixels as the file holds them: (H, W) grey or (H, W, 3) RGB, not yet upright."""

    pages: list[Pixels]
    orientations: list[int]
    icc: bytes
    metadata: Metadata
    pil_format: str
    left_out: int = 0


def in_eight_bits(gray: Grey) -> NDArray[np.uint8]:
    """Grey in 8 bits, rounded."""
    if gray.dtype == np.uint8:
        return np.asarray(gray, np.uint8)
    return np.asarray((gray.astype(np.uint32) + 128) // 257, np.uint8)


def shown(path: Path) -> str:
    """The path as it can stand in a sentence: on one line, whatever is in it."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: repr(found[0])[1:-1], str(path))


def read_photograph(path: Path, max_pixels: int, setting: str = "KWCOLOR_DOWNLOAD__MAX_PIXELS") -> Photograph:
    """Decode ``path`` fully, once. A colour picture is given its own lightness as grey, and a note says so.

    ``setting`` is the name of the limit. Raises UnreadablePhotograph.
    """
    name = shown(path)
    try:
        if path.exists() and not path.is_file():
            raise UnreadablePhotograph(f"{name} is not a file and so no picture.")
        with _mapped(path) as data:
            decoded = _decode(path, data, _Limit(max_pixels, setting))
        frames, depth, space = _frames(decoded, name)
        sha256 = sha256_of(path)
    except UnidentifiedImageError as error:
        raise UnreadablePhotograph(f"{name} is not a picture in a format that can be read.") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePhotograph(f"{name} unpacks to more pixels than any photograph has; it is refused.") from error
    except OSError as error:
        raise UnreadablePhotograph(f"{name} cannot be read: {error.strerror or _reason(error)}.") from error
    except UnreadablePhotograph:
        raise
    except MemoryError as error:
        raise UnreadablePhotograph(f"{name} needs more memory than there is.") from error
    except Exception as error:  # decoders raise anything on bytes made to break them
        raise UnreadablePhotograph(f"{name} is damaged: {_reason(error)}.") from error
    height, width = frames[0].shape
    kept = replace(decoded.metadata, tree=tags.of_size(decoded.metadata.tree, width, height))
    colours = _small_colours(decoded.pages[0])
    return Photograph(path, sha256, tuple(frames), depth, space, kept, decoded.pil_format, colours, decoded.left_out)


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    """The file's bytes, without reading what is not looked at."""
    with path.open("rb") as handle:
        if path.stat().st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            yield view


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__


def _decode(path: Path, data: memoryview, limit: _Limit) -> _Decoded:
    start = bytes(data[:32])
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _decode_tiff(path, data, limit)
    if start[4:12] == b"jP  \r\n\x87\n" or start[:4] == b"\xff\x4f\xff\x51":
        return _decode_jpeg2000(path, data, limit)
    if start[4:8] == b"ftyp":
        return _decode_heif(path, limit)
    return _decode_by_pillow(path, limit, _PILLOW)


def _decode_by_pillow(path: Path, limit: _Limit, formats: tuple[str, ...]) -> _Decoded:
    with warnings.catch_warnings():
        # The limit is the operator's own; Pillow's warning would name another one.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=list(formats)) as image:
            limit.check(path, image.size)
            left_out = getattr(image, "n_frames", 1) - 1 if image.format in ("GIF", "WEBP", "TIFF", "PNG") else 0
            pixels = _sixteen_bit_png(path) if image.format == "PNG" else None
            image.load()  # a PNG may tell things behind its pixels
            icc, metadata = image.info.get("icc_profile") or b"", _metadata_of(image, path)
            orientation = tags.orientation_of(_any_tree(image.info.get("exif") or b"", path))
            if pixels is None:
                pixels = _pixels_of(image, path, icc)
            return _Decoded([pixels], [orientation], icc, metadata, image.format or "", left_out)


def _pixels_of(image: Image.Image, path: Path, icc: bytes) -> Pixels:
    """Grey or RGB of a picture of any mode."""
    if image.mode == "F":
        raise UnreadablePhotograph(
            f"{shown(path)} holds floating point numbers, and which of them is white is not known."
        )
    if image.mode in ("L", "1", "LA", "La"):
        return np.asarray(image.convert("L"))
    if image.mode.startswith("I"):
        return np.asarray(image.convert("I")).clip(0, 65535).astype(np.uint16)
    if image.mode == "CMYK" and icc[16:20] == b"CMYK":
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _sixteen_bit_png(path: Path) -> Pixels | None:
    """The pixels of a PNG of 16 bits in colour or with transparency, which Pillow halves; None for another."""
    with path.open("rb") as handle:
        header = handle.read(26)
    if header[24:25] != b"\x10" or header[25] == 0:
        return None
    import imagecodecs

    pixels = imagecodecs.png_decode(path.read_bytes())
    return _without_alpha(pixels, samples={2: 3, 4: 1, 6: 3}[header[25]])


def _without_alpha(pixels: Pixels, samples: int) -> Pixels:
    """The first ``samples`` channels of (H, W, S): grey without a third axis."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return pixels[..., 0] if samples == 1 else np.ascontiguousarray(pixels[..., :samples])


def _any_tree(data: bytes, path: Path) -> Tree:
    """The tags of an EXIF block; none where it is damaged, as the picture itself is sound."""
    if not data:
        return Tree()
    try:
        return tags.read_tree(data)
    except ValueError as error:
        log.warning("the EXIF of %s is damaged and is not kept: %s", shown(path), error)
        return Tree()


def _metadata_of(image: Image.Image, path: Path) -> Metadata:
    info = image.info
    # A JPEG's Photoshop segments continue each other.
    segments = [data for name, data in getattr(image, "applist", []) if name == "APP13"]
    blocks = b"".join(data[14:] for data in segments if data.startswith(b"Photoshop 3.0\0"))
    iptc, photoshop = tags.split_photoshop(blocks)
    texts = {name: str(text) for name, text in getattr(image, "text", {}).items() if len(str(text)) < 1_000_000}
    xmp = info.get("xmp") or texts.pop("XML:com.adobe.xmp", "").encode()
    texts.pop("XML:com.adobe.xmp", None)
    profile = texts.pop("Raw profile type iptc", "")
    dpi = info.get("dpi")
    return Metadata(
        tree=tags.telling(_any_tree(info.get("exif") or b"", path)),
        xmp=xmp if isinstance(xmp, bytes) else str(xmp).encode(),
        iptc=iptc or _unhexed(profile),
        photoshop=photoshop,
        text={name: text for name, text in texts.items() if not name.startswith("Raw profile type")},
        comment=info.get("comment", b"") if image.format == "JPEG" else b"",
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and all(0 < side < 65536 for side in dpi) else None,
    )


def _unhexed(profile: str) -> bytes:
    """IPTC's records as ImageMagick and ExifTool keep them in a PNG's text: a name, a length and hexadecimals."""
    found = re.fullmatch(r"\s*iptc[^\n]*\n\s*\d+\s*\n([0-9a-f\s]*)", profile, re.IGNORECASE)
    try:
        data = bytes.fromhex("".join(found[1].split())) if found else b""
    except ValueError:
        return b""
    return tags.split_photoshop(data)[0] if data.startswith(b"8BIM") else data


def _decode_tiff(path: Path, data: memoryview, limit: _Limit) -> _Decoded:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for page in tiff.pages if not page.is_reduced] or list(tiff.pages)[:1]  # type: ignore[union-attr]
            limit.check(path, *((page.imagewidth, page.imagelength) for page in pages))  # type: ignore[union-attr]
            orientations, icc = [_page_orientation(page) for page in pages], _page_tag(pages[0], tags.ICC)
            pixels = [_page_pixels(page, path, bytes(icc)) for page in pages]
            numbers = [page.index for page in pages]
    except UnreadablePhotograph:
        raise
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - tifffile raises anything; Pillow reads some that it does not
        log.info("%s is read by Pillow, since tifffile says: %s", shown(path), _reason(error))
        decoded = _decode_by_pillow(path, limit, ("TIFF",))
        return replace(decoded, metadata=_tiff_metadata(data, [0], path))
    return _Decoded(pixels, orientations, bytes(icc), _tiff_metadata(data, numbers, path), "TIFF")


def _page_tag(page: Any, code: int) -> bytes:
    tag = page.tags.get(code)
    return bytes(tag.value) if tag is not None and isinstance(tag.value, bytes) else b""


def _page_orientation(page: Any) -> int:
    tag = page.tags.get(tags.ORIENTATION)
    value = int(tag.value) if tag is not None and isinstance(tag.value, int) else 1
    return value if 1 <= value <= 8 else 1


def _page_pixels(page: Any, path: Path, icc: bytes) -> Pixels:
    """Grey (H, W), RGB (H, W, 3) or CMYK (H, W, 4) of a TIFF's page."""
    pixels = page.asarray()
    if page.planarconfig == 2 and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype.kind == "f":
        raise UnreadablePhotograph(
            f"{shown(path)} holds floating point numbers, and which of them is white is not known."
        )
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    pixels = _in_whole_bytes(pixels, bits, path)
    match page.photometric.name:
        case "MINISBLACK":
            return _without_alpha(pixels, 1)
        case "MINISWHITE":
            return np.iinfo(pixels.dtype).max - _without_alpha(pixels, 1)
        case "RGB" | "YCBCR":
            return _without_alpha(pixels, 3)
        case "PALETTE":
            return (page.colormap.T[_without_alpha(page.asarray(), 1)] >> 8).astype(np.uint8)
        case "SEPARATED" if pixels.ndim == 3 and pixels.shape[-1] >= 4:
            cmyk = _without_alpha(pixels, 4)
            eight = cmyk if cmyk.dtype == np.uint8 else in_eight_bits(cmyk)
            return eight if icc[16:20] == b"CMYK" else np.asarray(Image.fromarray(eight, "CMYK").convert("RGB"))
        case other:
            raise ValueError(f"its colours are of the kind {other}")


def _in_whole_bytes(pixels: Pixels, bits: int, path: Path) -> Pixels:
    """Values of any whole number of bits as uint8 or uint16 whose white is the largest."""
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind != "u" or bits > 32:
        raise UnreadablePhotograph(
            f"{shown(path)} holds {pixels.dtype} numbers; 1 to 32 bits without sign can be read."
        )
    if bits == 32:
        return (pixels >> 16).astype(np.uint16)
    if bits in (8, 16):
        return pixels.astype(np.uint8 if bits == 8 else np.uint16, copy=False)
    top = 255 if bits < 8 else 65535
    return (pixels.astype(np.uint32) * top // (2**bits - 1)).astype(np.uint8 if bits < 8 else np.uint16)


def _tiff_metadata(data: memoryview, numbers: list[int], path: Path) -> Metadata:
    try:
        trees = tags.read_pages(data, max(numbers) + 1)
        kept = [trees[number] for number in numbers]
    except (ValueError, IndexError) as error:
        log.warning("the tags of %s are damaged and are not kept: %s", shown(path), error)
        return Metadata()
    first = kept[0].main
    xmp = first[tags.XMP].data if tags.XMP in first else b""
    iptc = first[tags.IPTC].data if tags.IPTC in first else b""
    blocks, others = tags.split_photoshop(first[tags.PHOTOSHOP].data) if tags.PHOTOSHOP in first else (b"", b"")
    told, *pages = [tags.telling(tree) for tree in kept]
    main = {code: tag for code, tag in told.main.items() if code != tags.PHOTOSHOP}
    if others:
        main[tags.PHOTOSHOP] = tags.undefined(others)
    return Metadata(replace(told, main=main), xmp, iptc or blocks, others, pages=tuple(pages))


def _decode_jpeg2000(path: Path, data: memoryview, limit: _Limit) -> _Decoded:
    import imagecodecs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=["JPEG2000"]) as image:
            limit.check(path, image.size)
            mode = image.mode
    boxes = read_boxes(data)
    pixels = imagecodecs.jpeg2k_decode(bytes(data))
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnreadablePhotograph(f"{shown(path)} holds {pixels.dtype} numbers; 8 and 16 bits can be read.")
    pixels = _without_alpha(pixels, 1 if mode in ("L", "LA", "I;16", "I") else 3)
    if boxes.bits and boxes.bits not in (8, 16):
        pixels = _in_whole_bytes(pixels, boxes.bits, path)
    metadata = Metadata(tags.telling(_any_tree(boxes.exif, path)), boxes.xmp, boxes.iptc)
    return _Decoded([pixels], [tags.orientation_of(_any_tree(boxes.exif, path))], boxes.icc, metadata, "JPEG2000")


def _decode_heif(path: Path, limit: _Limit) -> _Decoded:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadablePhotograph(
            f"{shown(path)} is in a format that needs another package; install kwcolor_pipeline[heic]."
        ) from error
    opened = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
    limit.check(path, opened.size)
    pixels = np.asarray(opened)
    # libheif has turned the picture upright, so that EXIF's orientation no longer holds.
    info = opened.info
    metadata = Metadata(tags.telling(_any_tree(info.get("exif") or b"", path)), info.get("xmp") or b"")
    samples = 1 if opened.mode.startswith(("L", "I")) else 3
    return _Decoded([_without_alpha(pixels, samples)], [1], info.get("icc_profile") or b"", metadata, "HEIF")


_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}


def _frames(decoded: _Decoded, name: str) -> tuple[list[Grey], int, RgbSpace]:
    """Grey of all pages, the depth of the result, and its space."""
    frames: list[Grey] = []
    space = SRGB
    for number, (pixels, orientation) in enumerate(zip(decoded.pages, decoded.orientations, strict=True)):
        if min(pixels.shape[:2]) < 1:
            raise ValueError("it has no pixels")
        pixels, found = _in_known_space(pixels, decoded.icc, name)
        space = found if number == 0 else space
        gray = pixels if pixels.ndim == 2 else grey_of_rgb(pixels, found)
        frames.append(np.ascontiguousarray(_UPRIGHT[orientation](gray)))
    depth = 16 if any(page.dtype == np.uint16 for page in decoded.pages) else 8
    return frames, depth, space


def _in_known_space(pixels: Pixels, icc: bytes, name: str) -> tuple[Pixels, RgbSpace]:
    """Grey in sRGB's curve, or RGB in a space that is made of curves and a matrix."""
    if not icc:
        return pixels, SRGB
    if pixels.ndim == 2:
        try:
            curve = grey_curve(icc)
        except UnknownProfile as error:
            log.info("the profile of %s is not used for its grey: %s", name, error)
            return pixels, SRGB
        if not is_srgb_curve(curve):
            levels = light_to_srgb_levels(curve)
            pixels = levels[pixels.astype(np.uint16) * 257 if pixels.dtype == np.uint8 else pixels]
        # A profile of grey cannot be that of a picture in colour.
        return pixels, RgbSpace(profile=srgb_profile())
    if pixels.shape[-1] == 3:
        try:
            return pixels, rgb_space(icc)
        except UnknownProfile as error:
            log.info("%s is converted to sRGB, since of its profile %s", name, error)
    return _converted(pixels, icc, name)


def _converted(pixels: Pixels, icc: bytes, name: str) -> tuple[Pixels, RgbSpace]:
    """RGB or CMYK of any profile as sRGB."""
    import imagecodecs

    cmyk = pixels.shape[-1] == 4
    try:
        converted = imagecodecs.cms_transform(
            pixels, icc, srgb_profile(), colorspace="cmyk" if cmyk else "rgb", outcolorspace="rgb"
        )
        return converted, RgbSpace(profile=srgb_profile())
    except (imagecodecs.CmsError, ValueError) as error:
        log.warning("the profile of %s is damaged and is not kept: %s", name, error)
    return (np.asarray(Image.fromarray(pixels, "CMYK").convert("RGB")) if cmyk else pixels), SRGB


@functools.cache
def srgb_profile() -> bytes:
    """LittleCMS's own profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def grey_of_rgb(rgb: Pixels, space: RgbSpace = SRGB) -> NDArray[np.uint16]:
    """Grey (H, W) in 16 bits of RGB (H, W, 3) with the same L*, whatever colours or tone it has."""
    tables = space.light_of_levels(np.iinfo(rgb.dtype).max)
    shares = [table * np.float32(share) for table, share in zip(tables, space.to_xyz[1].tolist(), strict=True)]
    gray = np.empty(rgb.shape[:2], np.uint16)
    rows = max(1, _AT_ONCE // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        red, green, blue = (share.take(rgb[top : top + rows, :, c]) for c, share in enumerate(shares))
        gray[top : top + rows] = light_to_srgb_levels(red + green + blue)
    return gray


def _small_colours(pixels: Pixels) -> NDArray[np.uint8] | None:
    """A small copy of RGB in 8 bits; None for grey, in whatever kind of pixels it is stored."""
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        return None
    step = max(1, max(pixels.shape[:2]) // _LOOKED_AT)
    few = np.ascontiguousarray(pixels[::step, ::step])
    few = in_eight_bits(few) if few.dtype == np.uint16 else few
    return few if np.ptp(few.astype(np.int16), axis=-1).max() >= _SEEN else None
