"""A pair's pictures as bytes: the colours as JPEG, their grey as PNG.

Belongs here: formats and how strongly they are packed. What is in the pictures is the affair of ``pairs``.
"""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# PNG's filter that predicts a pixel by the mean of its left and upper neighbours (PNG specification, section 9.2).
_AVERAGE = 3


def jpeg(color: Image.Image) -> bytes:
    """An RGB picture at a quality at which nobody sees a difference, with colours in full resolution."""
    buffer = io.BytesIO()
    color.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def png(gray: Pixels) -> bytes:
    """Grey uint8 [height, width] without loss.

    Film grain leaves nothing to find for what makes PNG slow, the best filter of each line and repeated
    strings: one filter and Huffman codes take a quarter of Pillow's time, for files of the same size.
    """
    height, width = gray.shape
    packer = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    packed = packer.compress(_filtered(gray).tobytes()) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _filtered(gray: Pixels) -> Pixels:
    """Each line's filter and its differences from what the filter predicts."""
    left, up = np.zeros_like(gray), np.zeros_like(gray)
    left[:, 1:], up[1:] = gray[:, :-1], gray[:-1]
    lines = np.empty((gray.shape[0], gray.shape[1] + 1), np.uint8)
    lines[:, 0] = _AVERAGE
    # The mean of two bytes rounded down, without a carry.
    np.subtract(gray, (left & up) + ((left ^ up) >> 1), out=lines[:, 1:])
    return lines


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
