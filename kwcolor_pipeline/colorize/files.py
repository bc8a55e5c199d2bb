"""Picture files in and out of the colorizer, and the mark that says so.

Every output carries XMP (IPTC digital source type, model, date, the original's sha256) and keeps
what the original's EXIF tells of the photograph. Nothing is ever written over the original.
"""

import datetime
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from kwcolor_pipeline.home import write_bytes
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline.photos.store import EXTENSIONS

log = logging.getLogger(__name__)

#: File name endings that `kwcolor colorize` takes and gives, with PIL's names of the formats.
FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "tif": "TIFF", "tiff": "TIFF", "webp": "WEBP"}
#: https://cv.iptc.org/newscodes/digitalsourcetype/ : edited with a trained model.
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_MARK = "https://kwcolor-pipeline.invalid/ns/1.0/"
#: EXIF tags that tell of the photograph: its title, page, camera, resolution, software, date, author, copyright
#: and Windows' copies of them. The rest of a TIFF's describes how its pixels are stored.
_TELLING = {269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316, 33432, 40091, 40092, 40093, 40094, 40095}
#: EXIF's own folder of tags, and that of the position.
_FOLDERS = (0x8769, 0x8825)
#: The most EXIF that a JPEG can hold: one segment.
_JPEG_EXIF = 65533
_LARGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
_TIFF_XMP = 700


class UnreadablePhotograph(Exception):
    """A file that cannot be colorized; the message is one sentence that names it and why."""


@dataclass(frozen=True)
class Photograph:
    """A picture as the colorizer takes it: grey uint8 (H, W), orientation applied."""

    path: Path
    sha256: str
    gray: np.ndarray
    exif: bytes


def read_photograph(path: Path, max_pixels: int) -> Photograph:
    """Decode ``path`` fully, once. A colour picture is given its own lightness as grey.

    Raises UnreadablePhotograph.
    """
    try:
        if path.exists() and not path.is_file():
            raise UnreadablePhotograph(f"{path} is not a file and so no picture.")
        data = path.read_bytes()
        with warnings.catch_warnings():
            # The limit below is the operator's own; Pillow's warning would name another one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=list(EXTENSIONS)) as image:
                if image.width * image.height > max_pixels:
                    raise UnreadablePhotograph(
                        f"{path} has {image.width} x {image.height} pixels, more than the {max_pixels:,} that "
                        "KWCOLOR_DOWNLOAD__MAX_PIXELS allows."
                    )
                upright = ImageOps.exif_transpose(image)
                exif = _kept_exif(path, image)
                gray = _grey(path, upright)
    except UnidentifiedImageError as error:
        raise UnreadablePhotograph(f"{path} is not a picture in a format that can be read.") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePhotograph(f"{path} unpacks to more pixels than any photograph has; it is refused.") from error
    except OSError as error:
        raise UnreadablePhotograph(f"{path} cannot be read: {error.strerror or _reason(error)}.") from error
    except UnreadablePhotograph:
        raise
    except Exception as error:  # decoders raise anything on bytes made to break them
        raise UnreadablePhotograph(f"{path} is damaged: {_reason(error)}.") from error
    return Photograph(path, hashlib.sha256(data).hexdigest(), gray, exif)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__


def _kept_exif(path: Path, image: Image.Image) -> bytes:
    """What the EXIF tells of the photograph, encoded; empty where there is none or where it is damaged."""
    kept = Image.Exif()
    try:
        exif = image.getexif()
        for tag in _TELLING & set(exif):
            kept[tag] = exif[tag]
        for folder in _FOLDERS:
            tags = exif.get_ifd(folder)
            if tags:
                kept[folder] = dict(tags)
        return kept.tobytes() if kept else b""
    except Exception as error:  # noqa: BLE001 - PIL raises anything on broken tags, and the picture itself is sound
        log.warning("the EXIF of %s is damaged and is not kept: %s", path, _reason(error))
        return b""


def _grey(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise UnreadablePhotograph(f"{path} holds floating point numbers, and which of them is white is not known.")
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    if image.mode.startswith("I"):
        return (np.asarray(image.convert("I")).clip(0, 65535) / 257).round().astype(np.uint8)
    return decolorize(np.asarray(image.convert("RGB")), "lightness")


def provenance_xmp(model: str, original_sha256: str, when: datetime.datetime) -> bytes:
    """The XMP packet that marks a picture as colorized."""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:kwcolor="{_MARK}">
<Iptc4xmpExt:DigitalSourceType>{_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
<xmp:CreatorTool>kwcolor_pipeline</xmp:CreatorTool>
<xmp:ModifyDate>{when.isoformat(timespec="seconds")}</xmp:ModifyDate>
<kwcolor:colours>inferred by a trained model, not recorded by the camera</kwcolor:colours>
<kwcolor:model>{escape(model)}</kwcolor:model>
<kwcolor:originalSha256>{original_sha256}</kwcolor:originalSha256>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


def is_colorized(path: Path) -> bool:
    """Whether the file carries the mark of :func:`provenance_xmp`."""
    return _MARK.encode() in path.read_bytes()


def write_colorized(path: Path, colour: np.ndarray, original: Photograph, model: str) -> None:
    """Write RGB uint8 (H, W, 3) with its marks, atomically; the ending of ``path`` gives the format.

    Raises ValueError for an ending that is not in FORMATS, UnreadablePhotograph when the format cannot
    hold so large a picture.
    """
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise ValueError(f"`{path.suffix}` is not a format that can be written; use one of: {', '.join(FORMATS)}.")
    pil_format = FORMATS[ending]
    height, width = colour.shape[:2]
    largest = _LARGEST_SIDE.get(pil_format, max(height, width))
    if max(height, width) > largest:
        raise UnreadablePhotograph(
            f"{original.path} has {width} x {height} pixels and {pil_format} holds {largest} a side; use --format png."
        )
    packet = provenance_xmp(model, original.sha256, datetime.datetime.now(datetime.UTC))
    buffer = io.BytesIO()
    Image.fromarray(colour).save(buffer, pil_format, **_saving(pil_format, packet, original))
    write_bytes(path, buffer.getvalue())


def _saving(pil_format: str, packet: bytes, original: Photograph) -> dict[str, Any]:
    """PIL's options: quality, EXIF and the XMP packet, which every format takes in its own way."""
    match pil_format:
        case "JPEG":
            exif = original.exif
            if len(exif) > _JPEG_EXIF:
                log.warning("the EXIF of %s is too long for a JPEG and is not kept", original.path)
                exif = b""
            return {"quality": 95, "subsampling": 0, "exif": exif, "xmp": packet}
        case "PNG":
            info = PngInfo()
            info.add_itxt("XML:com.adobe.xmp", packet.decode())
            return {"pnginfo": info, "exif": original.exif}
        case "TIFF":
            tags = Image.Exif()
            tags.load(original.exif)
            tags[_TIFF_XMP] = packet
            # Uncompressed: Pillow's libtiff path, which compresses, cannot write EXIF's own folder.
            return {"compression": "raw", "exif": tags}
        case _:
            return {"quality": 95, "exif": original.exif, "xmp": packet}


def photograph_files(given: list[Path]) -> Iterator[Path]:
    """The files that are meant by files and folders: a folder stands for the pictures directly in and below it."""
    for path in given:
        if path.is_dir():
            yield from (
                found
                for found in sorted(path.rglob("*"))
                if found.is_file() and found.suffix.lower().lstrip(".") in FORMATS and not found.name.startswith(".")
            )
        else:
            yield path
