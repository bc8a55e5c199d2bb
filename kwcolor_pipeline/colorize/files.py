"""Colorized pictures to files, with everything that the original's file told and the marks that say so.

Belongs here: writing each format, and where it keeps metadata. Reading is in ``reading``, the formats' names are in
``formats``.
"""

import datetime
import io
import logging
import mmap
import secrets
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kwcolor_pipeline.colorize import metadata as tags
from kwcolor_pipeline.colorize.engine import PLAIN, Rendering
from kwcolor_pipeline.colorize.formats import DEEP, FORMATS, ending_of
from kwcolor_pipeline.colorize.jp2 import Boxes, with_boxes
from kwcolor_pipeline.colorize.merge import Colour
from kwcolor_pipeline.colorize.metadata import Metadata, Tree
from kwcolor_pipeline.colorize.provenance import (
    MARKED,
    NAMESPACE,
    SIGNED,
    Marking,
    Signer,
    provenance_xmp,
    with_visible_mark,
)
from kwcolor_pipeline.colorize.reading import Photograph, UnreadablePhotograph, shown
from kwcolor_pipeline.home import atomic_path

log = logging.getLogger(__name__)

_LARGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "HEIF": 16384}
#: The most that a segment of a JPEG can hold.
_SEGMENT = 65533
_XMP_IN_JPEG = _SEGMENT - len(b"http://ns.adobe.com/xap/1.0/\0")
#: Bytes of an uncompressed TIFF above which it has to be a BigTIFF, with room for tags.
_CLASSIC_TIFF = 4_000_000_000


def colorized(
    colorizer: Callable[..., Colour], photograph: Photograph, ending: str, rendering: Rendering = PLAIN
) -> list[Colour]:
    """All pages of a photograph in colour, as deep as both the photograph and the format; the first where it has one.

    ``colorizer`` is a :class:`~kwcolor_pipeline.colorize.engine.Colorizer` or called like one; ``ending`` is one of
    FORMATS.
    """
    depth = photograph.depth if FORMATS[ending] in DEEP else 8
    frames = photograph.frames if FORMATS[ending] == "TIFF" else photograph.frames[:1]
    return [colorizer(frame, rendering, depth=depth, space=photograph.space) for frame in frames]


def is_colorized(path: Path) -> bool:
    """Whether the file carries the mark of :func:`~kwcolor_pipeline.colorize.provenance.provenance_xmp`."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(NAMESPACE.encode()) >= 0


def write_colorized(
    path: Path,
    colour: Colour | Sequence[Colour],
    original: Photograph,
    model: str,
    marking: Marking = MARKED,
    signer: Signer | None = None,
) -> None:
    """Write RGB (H, W, 3), or that of each page, with its marks, atomically; the ending of ``path`` gives the format.

    Raises ValueError for an ending that is not in FORMATS, UnreadablePhotograph when the format cannot
    hold so large a picture.
    """
    ending = ending_of(path)
    if ending not in FORMATS:
        raise ValueError(f"`{path.suffix}` is not a format that can be written; use one of: {', '.join(FORMATS)}.")
    pil_format = FORMATS[ending]
    pages = [colour] if isinstance(colour, np.ndarray) else list(colour)
    height, width = pages[0].shape[:2]
    largest = _LARGEST_SIDE.get(pil_format, max(height, width))
    if max(height, width) > largest:
        raise UnreadablePhotograph(
            f"{shown(original.path)} has {width} x {height} pixels and {pil_format} holds {largest} a side; "
            "use --format png."
        )
    if signer is not None and pil_format not in SIGNED:
        raise UnreadablePhotograph(f"{shown(original.path)} cannot be signed as {pil_format}; use --format tif or png.")
    if marking.visible:
        pages = [with_visible_mark(page) for page in pages]
    told = original.metadata
    packet = told.xmp
    if marking.hidden:
        described: dict[int, list[str]] = {}
        if pil_format in ("WEBP", "HEIF"):  # neither has a place for IPTC's own records
            for number, text in tags.iptc_records(told.iptc):
                described.setdefault(number, []).append(text)
        now = datetime.datetime.now(datetime.UTC)
        packet = provenance_xmp(model, original.sha256, now, told.xmp, described)
    with atomic_path(path) as temporary:
        _WRITERS[pil_format](temporary, pages, replace(told, xmp=packet), original)
        if signer is not None:
            signed = temporary.with_name(f".{secrets.token_hex(8)}.signed.part")
            try:
                signer.sign(temporary, signed, pil_format, model, original.path, original.pil_format)
                signed.replace(temporary)
            finally:
                signed.unlink(missing_ok=True)


def _fitting_exif(tree: Tree, original: Photograph) -> bytes:
    """The segment of EXIF if a JPEG holds it, else without the camera maker's part, else nothing."""
    for fewer in (tree, tags.without_maker_note(tree)):
        block = tags.exif_block(fewer)
        if len(block) <= _SEGMENT - 8:
            if fewer is not tree:
                log.warning("the camera maker's part of the EXIF of %s is too long for a JPEG", shown(original.path))
            return b"Exif\0\0" + block if block else b""
    log.warning("the EXIF of %s is too long for a JPEG and is not kept", shown(original.path))
    return b""


def _write_jpeg(path: Path, pages: list[Colour], told: Metadata, original: Photograph) -> None:
    packet = told.xmp
    if len(packet) > _XMP_IN_JPEG:
        log.warning("the XMP of %s is too long for a JPEG; only the marks are kept", shown(original.path))
        packet = _marks_only(told.xmp)
    blocks = tags.photoshop_blocks(told)
    extra = b""
    for start in range(0, len(blocks), _SEGMENT - 14):  # blocks that are longer than a segment go on in the next
        part = b"Photoshop 3.0\0" + blocks[start : start + _SEGMENT - 14]
        extra += b"\xff\xed" + struct.pack(">H", len(part) + 2) + part
    options: dict[str, Any] = {
        "quality": 95,
        "subsampling": 0,
        "exif": _fitting_exif(told.tree, original),
        "extra": extra,
    }
    if packet:
        options["xmp"] = packet
    if told.comment:
        options["comment"] = told.comment[:_SEGMENT]
    if told.dpi:
        options["dpi"] = tuple(round(side) for side in told.dpi)
    Image.fromarray(pages[0]).save(path, "JPEG", icc_profile=original.space.profile, **options)


def _marks_only(packet: bytes) -> bytes:
    """The last description of a packet, which is this project's own."""
    from xml.etree import ElementTree

    rdf = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    root = ElementTree.fromstring(packet.decode().split("?>", 1)[1].rsplit("<?", 1)[0].strip())
    found = root.find(f"{rdf}RDF")
    assert found is not None
    for child in list(found)[:-1]:
        found.remove(child)
    return ElementTree.tostring(root, encoding="utf-8")


def _write_webp(path: Path, pages: list[Colour], told: Metadata, original: Photograph) -> None:
    exif = tags.exif_block(told.tree)
    Image.fromarray(pages[0]).save(
        path, "WEBP", quality=95, exif=exif, xmp=told.xmp, icc_profile=original.space.profile or b""
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text_chunk(name: str, text: str) -> bytes:
    """An iTXt chunk: a name in Latin-1 of at most 79 characters, and any text."""
    return _chunk(b"iTXt", name.encode("latin-1", "replace")[:79] + b"\0\0\0\0\0" + text.encode("utf-8", "replace"))


def _write_png(path: Path, pages: list[Colour], told: Metadata, original: Photograph) -> None:
    import imagecodecs

    encoded = memoryview(imagecodecs.png_encode(np.ascontiguousarray(pages[0]), level=6))
    chunks = b""
    if original.space.profile:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(original.space.profile))
    if told.dpi:
        across, down = (round(side / 0.0254) for side in told.dpi)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if exif := tags.exif_block(told.tree):
        chunks += _chunk(b"eXIf", exif)
    if told.iptc:
        lines = [told.iptc[start : start + 36].hex() for start in range(0, len(told.iptc), 36)]
        profile = f"\niptc\n{len(told.iptc):8}\n" + "\n".join(lines) + "\n"
        chunks += _chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile.encode()))
    if told.xmp:
        chunks += _text_chunk("XML:com.adobe.xmp", told.xmp.decode("utf-8", "replace"))
    for name, text in told.text.items():
        chunks += _text_chunk(name, text)
    header = 8 + 25  # the signature and IHDR
    with path.open("xb") as written:
        written.write(encoded[:header])
        written.write(chunks)
        written.write(encoded[header:])


def _write_jpeg2000(path: Path, pages: list[Colour], told: Metadata, original: Photograph) -> None:
    import imagecodecs

    encoded = imagecodecs.jpeg2k_encode(np.ascontiguousarray(pages[0]), level=0, codecformat="jp2", reversible=True)
    boxes = Boxes(tags.exif_block(told.tree), told.xmp, told.iptc, original.space.profile or b"")
    path.write_bytes(with_boxes(bytes(encoded), boxes))


def _write_heif(path: Path, pages: list[Colour], told: Metadata, original: Photograph) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadablePhotograph(
            f"{shown(original.path)} cannot be written as HEIC without another package: install kwcolor_pipeline[heic]."
        ) from error
    page = np.ascontiguousarray(pages[0])
    height, width = page.shape[:2]
    made = pillow_heif.from_bytes("RGB;16" if page.dtype == np.uint16 else "RGB", (width, height), page.tobytes())
    if original.space.profile:
        made.info["icc_profile"] = original.space.profile
    exif = tags.exif_block(told.tree)
    buffer = io.BytesIO()
    made.save(buffer, quality=95, chroma=444, exif=b"Exif\0\0" + exif if exif else None, xmp=told.xmp or None)
    path.write_bytes(buffer.getvalue())


def _write_tiff(path: Path, pages: list[Colour], told: Metadata, original: Photograph) -> None:
    import tifffile

    size = sum(page.nbytes for page in pages)
    with tifffile.TiffWriter(path, bigtiff=size > _CLASSIC_TIFF, byteorder="<") as writer:
        for page in pages:
            writer.write(
                page,
                photometric="rgb",
                compression="zlib",
                predictor=True,
                rowsperstrip=max(1, min(len(page), 2**21 // page[0].nbytes)),
                metadata=None,
                software=False,
                contiguous=False,
            )
    trees = [told.tree, *told.pages][: len(pages)]
    trees += [Tree()] * (len(pages) - len(trees))
    own = dict(trees[0].main)
    if told.xmp:
        own[tags.XMP] = tags.Tag(1, len(told.xmp), told.xmp)
    if original.space.profile:
        own[tags.ICC] = tags.undefined(original.space.profile)
    if told.iptc:
        own.setdefault(tags.IPTC, tags.undefined(told.iptc))
    if told.photoshop:
        own.setdefault(tags.PHOTOSHOP, tags.undefined(told.photoshop))
    if told.dpi and 282 not in own:
        for code, side in zip((282, 283), told.dpi, strict=True):
            own[code] = tags.Tag(5, 1, struct.pack("<II", round(side * 1000), 1000))
        own[296] = tags.Tag(3, 1, struct.pack("<H", 2))
    trees[0] = replace(trees[0], main=own)
    with path.open("r+b") as handle:
        end = path.stat().st_size
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            added, patches = tags.add_to_tiff(data, trees, end)
        handle.seek(end)
        handle.write(added)
        for place, value in patches.items():
            handle.seek(place)
            handle.write(value)


_WRITERS = {
    "JPEG": _write_jpeg,
    "PNG": _write_png,
    "TIFF": _write_tiff,
    "WEBP": _write_webp,
    "HEIF": _write_heif,
    "JPEG2000": _write_jpeg2000,
}
