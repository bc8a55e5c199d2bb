"""The boxes of a JPEG 2000 file: which hold its metadata, and putting them there.

Belongs here: boxes (ISO/IEC 15444-1, annex I). Pixels are imagecodecs' affair. EXIF, IPTC and XMP are in UUID boxes, as
Adobe's products, ExifTool and Exiv2 keep them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_EXIF = b"JpgTiffExif->JP2"
#: No file has more boxes on one level.
_MOST = 1000


@dataclass(frozen=True)
class Boxes:
    """Metadata of a file, and the bits of a channel; 0 where the file is a bare codestream."""

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    icc: bytes = b""
    bits: int = 0


def _boxes(data: memoryview | bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the content of each box of one level."""
    place = 0
    for _ in range(_MOST):
        if place + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, place)
        begin = place + 8
        if length == 1 and place + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, begin)
            begin += 8
        end = len(data) if length == 0 else place + length
        if end < begin or end > len(data):
            return
        yield kind, begin, end
        place = end


def read_boxes(data: memoryview) -> Boxes:
    """The metadata of a JPEG 2000 file; boxes that are damaged, and all behind them, are left out."""
    found: dict[str, bytes] = {}
    bits = 0
    for kind, begin, end in _boxes(data):
        if kind == b"uuid":
            name = {_XMP: "xmp", _IPTC: "iptc", _EXIF: "exif"}.get(bytes(data[begin : begin + 16]))
            if name:
                found.setdefault(name, bytes(data[begin + 16 : end]))
        elif kind == b"jp2h":
            header = bytes(data[begin:end])
            for inner, start, stop in _boxes(header):
                if inner == b"ihdr" and stop - start >= 11:
                    bits = (header[start + 10] & 0x7F) + 1
                elif inner == b"colr" and header[start : start + 1] == b"\x02":
                    found.setdefault("icc", header[start + 3 : stop])
    return Boxes(bits=bits, **found)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_boxes(data: bytes, boxes: Boxes) -> bytes:
    """A JPEG 2000 file with the metadata of ``boxes`` before its pixels, and their profile in its header."""
    parts: list[bytes] = []
    for kind, begin, end in _boxes(data):
        if kind == b"jp2h" and boxes.icc:
            header = data[begin:end]
            inner = [(k, header[start:stop]) for k, start, stop in _boxes(header)]
            colour = _box(b"colr", b"\x02\0\0" + boxes.icc)
            kept = b"".join(colour if k == b"colr" else _box(k, content) for k, content in inner)
            parts.append(_box(b"jp2h", kept))
            continue
        if kind == b"jp2c":
            named = ((_EXIF, boxes.exif), (_IPTC, boxes.iptc), (_XMP, boxes.xmp))
            parts += [_box(b"uuid", name + content) for name, content in named if content]
            # To the end of the file, as it may be larger than a short length can say.
            parts.append(struct.pack(">I4s", 0, b"jp2c") + data[begin:end])
            continue
        parts.append(_box(kind, data[begin:end]))
    return b"".join(parts)
