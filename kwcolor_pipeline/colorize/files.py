"""Picture files in and out of the colorizer, and the mark that says so.

Every output carries XMP (IPTC digital source type, model, date, the original's sha256) and keeps
the original's EXIF. Nothing is ever written over the original.
"""

import datetime
import hashlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kwcolor_pipeline.home import write_bytes
from kwcolor_pipeline.photos.pairs import decolorize

#: File name endings that `kwcolor colorize` takes and gives, with PIL's names of the formats.
FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "tif": "TIFF", "tiff": "TIFF", "webp": "WEBP"}
#: https://cv.iptc.org/newscodes/digitalsourcetype/ : edited with a trained model.
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_ORIENTATION = 0x0112


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
        data = path.read_bytes()
        with warnings.catch_warnings():
            # The limit below is the operator's own; Pillow's warning would name another one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > max_pixels:
                    raise UnreadablePhotograph(
                        f"{path} has {image.width} x {image.height} pixels, more than the {max_pixels:,} that "
                        "KWCOLOR_DOWNLOAD__MAX_PIXELS allows."
                    )
                upright = ImageOps.exif_transpose(image)
                exif = upright.getexif()
                gray = _grey(upright)
    except UnidentifiedImageError as error:
        raise UnreadablePhotograph(f"{path} is not a picture in a format that can be read.") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePhotograph(f"{path} unpacks to more pixels than any photograph has; it is refused.") from error
    except IsADirectoryError as error:
        raise UnreadablePhotograph(f"{path} is a folder and not a picture.") from error
    except OSError as error:
        raise UnreadablePhotograph(f"{path} cannot be read: {error.strerror or error}.") from error
    except (SyntaxError, ValueError, EOFError) as error:
        raise UnreadablePhotograph(f"{path} is damaged: {error}.") from error
    exif.pop(_ORIENTATION, None)
    return Photograph(path, hashlib.sha256(data).hexdigest(), gray, exif.tobytes() if exif else b"")


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    if image.mode.startswith(("I;16", "I")):
        return (np.asarray(image.convert("I")).clip(0, 65535) / 257).round().astype(np.uint8)
    return decolorize(np.asarray(image.convert("RGB")), "lightness")


def provenance_xmp(model: str, original_sha256: str, when: datetime.datetime) -> bytes:
    """The XMP packet that marks a picture as colorized."""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:kwcolor="https://kwcolor-pipeline.invalid/ns/1.0/">
<Iptc4xmpExt:DigitalSourceType>{_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
<xmp:CreatorTool>kwcolor_pipeline</xmp:CreatorTool>
<xmp:ModifyDate>{when.isoformat(timespec="seconds")}</xmp:ModifyDate>
<kwcolor:colours>inferred by a trained model, not recorded by the camera</kwcolor:colours>
<kwcolor:model>{escape(model)}</kwcolor:model>
<kwcolor:originalSha256>{original_sha256}</kwcolor:originalSha256>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


def write_colorized(path: Path, colour: np.ndarray, original: Photograph, model: str) -> None:
    """Write RGB uint8 (H, W, 3) with its marks, atomically; the ending of ``path`` gives the format.

    Raises ValueError for an ending that is not in FORMATS.
    """
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise ValueError(f"`{path.suffix}` is not a format that can be written; use one of: {', '.join(FORMATS)}.")
    packet = provenance_xmp(model, original.sha256, datetime.datetime.now(datetime.UTC))
    options: dict[str, object] = {"xmp": packet} if FORMATS[ending] != "TIFF" else {}
    if FORMATS[ending] in ("JPEG", "WEBP"):
        options |= {"quality": 95, "exif": original.exif}
    if FORMATS[ending] == "JPEG":
        options["subsampling"] = 0
    if FORMATS[ending] == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        options = {"pnginfo": info, "exif": original.exif}
    if FORMATS[ending] == "TIFF":
        options = {"compression": "tiff_deflate", "tiffinfo": {700: packet}}
    buffer = io.BytesIO()
    Image.fromarray(colour).save(buffer, FORMATS[ending], **options)
    write_bytes(path, buffer.getvalue())


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
