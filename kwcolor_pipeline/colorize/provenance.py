"""Saying that a picture is colorized: in its XMP, as a small visible mark, and signed (C2PA).

Belongs here: the marks. Where a format keeps XMP is in ``files``.

The digital source type is IPTC's for pictures that were edited with a trained model; its colours are invented, which
"algorithmically enhanced" would not say (https://cv.iptc.org/newscodes/digitalsourcetype/).
"""

import datetime
import io
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from kwcolor_pipeline.settings import SettingsProblem

log = logging.getLogger(__name__)

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
#: The namespace of this project's own properties, by which a result is known again.
NAMESPACE = "https://kwcolor-pipeline.invalid/ns/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_META = "adobe:ns:meta/"
_XML = "http://www.w3.org/XML/1998/namespace"
_SPACES = {
    "rdf": _RDF,
    "x": _META,
    "kwcolor": NAMESPACE,
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
}
#: An original's packet larger than this tells more of its editing than of the photograph.
_MOST_XMP = 5_000_000
#: No packet nests its elements deeper.
_DEEPEST = 60
#: IPTC's records and where XMP keeps the same (IPTC Photo Metadata Standard 2023.2): the property and how it is held.
_IPTC_IN_XMP = {
    5: ("dc:title", "Alt"),
    25: ("dc:subject", "Bag"),
    40: ("photoshop:Instructions", ""),
    80: ("dc:creator", "Seq"),
    85: ("photoshop:AuthorsPosition", ""),
    90: ("photoshop:City", ""),
    95: ("photoshop:State", ""),
    101: ("photoshop:Country", ""),
    103: ("photoshop:TransmissionReference", ""),
    105: ("photoshop:Headline", ""),
    110: ("photoshop:Credit", ""),
    115: ("photoshop:Source", ""),
    116: ("dc:rights", "Alt"),
    120: ("dc:description", "Alt"),
    122: ("photoshop:CaptionWriter", ""),
}


@dataclass(frozen=True)
class Marking:
    """How results say that they are colorized.

    Args:
        hidden: in XMP; only an explicit wish leaves it out.
        visible: a small word in the lower right corner as well.
        certificate: PEM file of a certificate and those it rests on; with it results are signed (C2PA).
        private_key: PEM file of its key.
    """

    hidden: bool = True
    visible: bool = False
    certificate: Path | None = None
    private_key: Path | None = None


MARKED = Marking()


def _name(qualified: str) -> str:
    prefix, name = qualified.split(":")
    return f"{{{_SPACES[prefix]}}}{name}"


def provenance_xmp(
    model: str,
    original_sha256: str,
    when: datetime.datetime,
    original: bytes = b"",
    described: Mapping[int, list[str]] | None = None,
) -> bytes:
    """The XMP packet that marks a picture as colorized, and tells what the original's packet told.

    ``described`` are IPTC's records for a format that keeps XMP only; what the packet tells already stays. A property
    of the original is never changed, but for the digital source type, which is kept under another name.
    """
    packet = _original_packet(original)
    rdf = packet.find(_name("rdf:RDF"))
    assert rdf is not None  # the packet was made or checked so
    told = {node.tag for node in rdf.iter()} | {name for node in rdf.iter() for name in node.attrib}
    marks = ElementTree.SubElement(rdf, _name("rdf:Description"), {_name("rdf:about"): _about(rdf)})

    def tell(name: str, text: str) -> None:
        ElementTree.SubElement(marks, _name(name)).text = text

    before = _take(rdf, _name("Iptc4xmpExt:DigitalSourceType"))
    _take_ours(rdf)
    tell("Iptc4xmpExt:DigitalSourceType", SOURCE_TYPE)
    date = when.isoformat(timespec="seconds")
    for name, text in (("xmp:CreatorTool", "kwcolor_pipeline"), ("xmp:ModifyDate", date)):
        if _name(name) not in told:
            tell(name, text)
    tell("kwcolor:colours", "inferred by a trained model, not recorded by the camera")
    tell("kwcolor:model", _printable(model))
    tell("kwcolor:date", date)
    tell("kwcolor:originalSha256", original_sha256)
    if before:
        tell("kwcolor:originalDigitalSourceType", before)
    for number, texts in (described or {}).items():
        if number in _IPTC_IN_XMP and _name(_IPTC_IN_XMP[number][0]) not in told:
            _describe(marks, *_IPTC_IN_XMP[number], texts=[_printable(text) for text in texts])
    body = ElementTree.tostring(packet, encoding="unicode")
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{body}\n<?xpacket end="w"?>'.encode()


def _printable(text: str) -> str:
    """``text`` without the characters that XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)


def _about(rdf: ElementTree.Element) -> str:
    """What the packet's descriptions are about; all have to be about the same."""
    first = rdf.find(_name("rdf:Description"))
    return first.get(_name("rdf:about"), "") if first is not None else ""


def _describe(marks: ElementTree.Element, name: str, held: str, texts: list[str]) -> None:
    node = ElementTree.SubElement(marks, _name(name))
    if not held:
        node.text = texts[0]
        return
    listed = ElementTree.SubElement(node, _name(f"rdf:{held}"))
    for text in texts:
        language = {f"{{{_XML}}}lang": "x-default"} if held == "Alt" else {}
        ElementTree.SubElement(listed, _name("rdf:li"), language).text = text


def _original_packet(original: bytes) -> ElementTree.Element:
    """The original's `x:xmpmeta`, or an empty one where there is none that can be read."""
    for prefix, uri in _SPACES.items():
        ElementTree.register_namespace(prefix, uri)
    start, end = original.find(b"<"), original.rfind(b">")
    if 0 <= start < end and len(original) <= _MOST_XMP:
        try:
            return _parsed(original[start : end + 1])
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            log.warning("the XMP of the original is damaged and is not kept: %s", error)
    packet = ElementTree.Element(_name("x:xmpmeta"))
    ElementTree.SubElement(packet, _name("rdf:RDF"))
    return packet


def _parsed(text: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ValueError("it declares entities")
    found = ElementTree.iterparse(io.BytesIO(text), events=("start", "end", "start-ns"))
    root: ElementTree.Element | None = None
    depth = 0
    for event, item in found:
        depth += {"start": 1, "end": -1}.get(event, 0)
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if event == "start-ns":
            prefix, uri = item
            # The prefixes that the original uses; ElementTree keeps those of the form ns1 for itself.
            if prefix and not re.fullmatch(r"ns\d+", prefix) and prefix not in _SPACES and uri not in _SPACES.values():
                ElementTree.register_namespace(prefix, uri)
        elif root is None and event == "start":
            root = item
    if root is None:
        raise ValueError("it is empty")
    if root.tag == _name("rdf:RDF"):
        packet = ElementTree.Element(_name("x:xmpmeta"))
        packet.append(root)
        return packet
    if root.find(_name("rdf:RDF")) is None:
        raise ValueError("it has no rdf:RDF")
    return root


def _take(rdf: ElementTree.Element, name: str) -> str:
    """Remove a property wherever it is, and give its text."""
    text = ""
    for node in list(rdf.iter(_name("rdf:Description"))):
        text = node.attrib.pop(name, "") or text
        for child in node.findall(name):
            text = (child.text or child.get(_name("rdf:resource")) or "").strip() or text
            node.remove(child)
    return text


def _take_ours(rdf: ElementTree.Element) -> None:
    """Remove what an earlier colorizing said: the original that is colorized now says it for itself."""
    for node in list(rdf.iter(_name("rdf:Description"))):
        for name in [name for name in node.attrib if name.startswith(f"{{{NAMESPACE}}}")]:
            del node.attrib[name]
        for child in [child for child in node if child.tag.startswith(f"{{{NAMESPACE}}}")]:
            node.remove(child)


#: The word of the visible mark, its height as a share of the shortest side, and the least in pixels.
_WORD, _SHARE, _LEAST = "colorized", 0.022, 9


def with_visible_mark(colour: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8 | np.uint16]:
    """A copy of RGB (H, W, 3) with a small word in the lower right corner; itself where it has no room."""
    height, width = colour.shape[:2]
    size = max(_LEAST, round(min(height, width) * _SHARE))
    font = ImageFont.load_default(size)
    _, _, right, bottom = (round(side) for side in font.getbbox(_WORD))
    margin = size // 2
    if right + 2 * margin > width or bottom + 2 * margin > height:
        return colour
    box = Image.new("L", (right + 2 * margin, bottom + 2 * margin), 0)
    ImageDraw.Draw(box).text((margin, margin // 2), _WORD, font=font, fill=255)
    letters = np.asarray(box, np.float32)[..., None] / 255
    marked = colour.copy()
    corner = marked[height - box.height :, width - box.width :]
    # White letters on a darker ground, so that they are seen on sky and on shadow.
    corner[:] = (corner * 0.5 * (1 - letters) + np.iinfo(colour.dtype).max * 0.95 * letters).astype(colour.dtype)
    return marked


#: Formats that hold manifests, with their media types.
SIGNED = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "HEIF": "image/heic",
}


class Signer:
    """Signs results with a person's own certificate.

    Raises SettingsProblem where c2pa-python is not installed, or the certificate or its key cannot be used.
    """

    def __init__(self, certificate: Path, private_key: Path):
        try:
            import c2pa
        except ImportError as error:
            raise SettingsProblem("To sign results install kwcolor_pipeline[c2pa].") from error
        self._c2pa = c2pa
        try:
            chain, key = certificate.read_bytes(), private_key.read_bytes()
        except OSError as error:
            raise SettingsProblem(f"The certificate or its key cannot be read: {error}.") from error
        try:
            self._signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(_algorithm(key), chain, key, None))
        except c2pa.C2paError as error:
            raise SettingsProblem(f"{certificate} cannot sign: {error}.") from error

    def sign(
        self, source: Path, signed: Path, pil_format: str, model: str, original: Path, original_format: str
    ) -> None:
        """Write ``source``, in one of SIGNED, to ``signed`` with a signed manifest whose parent is ``original``."""
        done = {"action": "c2pa.edited", "digitalSourceType": SOURCE_TYPE, "description": f"colorized by {model}"}
        manifest = {
            "claim_generator_info": [{"name": "kwcolor_pipeline"}],
            "title": original.name,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [done]}}],
        }
        builder = self._c2pa.Builder(json.dumps(manifest))
        # An edit of a parent: the original, or where its format has no manifests the result as it was before signing.
        builder.set_intent(self._c2pa.C2paBuilderIntent.EDIT)
        if original_format in SIGNED and original.exists():
            parent = {"title": original.name, "relationship": "parentOf"}
            with original.open("rb") as stream:
                builder.add_ingredient(json.dumps(parent), SIGNED[original_format], stream)
        with source.open("rb") as read, signed.open("w+b") as written:
            builder.sign(self._signer, SIGNED[pil_format], read, written)


def _algorithm(private_key: bytes) -> str:
    """The name of the signature that a PEM key makes."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError) as error:
        raise SettingsProblem(f"The key of the certificate cannot be read: {error}.") from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {256: "es256", 384: "es384", 521: "es512"}.get(key.curve.key_size, "es256")
    return "ps256"
