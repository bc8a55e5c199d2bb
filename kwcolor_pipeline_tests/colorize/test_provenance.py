"""The marks: in XMP beside what the original's told, visible, and signed."""

import datetime
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.colorize.files import write_colorized
from kwcolor_pipeline.colorize.provenance import Marking, Signer, provenance_xmp, with_visible_mark
from kwcolor_pipeline.colorize.reading import UnreadablePhotograph, read_photograph
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.colorize.certificates import write_certificate
from kwcolor_pipeline_tests.colorize.pictures import noise, saved

WHEN = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
SHA256 = "ab" * 32
DC, XMP = "{http://purl.org/dc/elements/1.1/}", "{http://ns.adobe.com/xap/1.0/}"
IPTC, OURS = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}", "{https://kwcolor-pipeline.invalid/ns/1.0/}"

ORIGINAL = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:archive="https://archive.example/ns/" xmp:CreatorTool="Scanner" xmp:Rating="4"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Bridge</rdf:li></rdf:Alt></dc:title>
<archive:shelf>17 b</archive:shelf>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def told(packet: bytes) -> dict[str, str]:
    """Every property of a packet, by its qualified name."""
    root = ElementTree.fromstring(packet.decode().split("?>", 1)[1].rsplit("<?", 1)[0])
    found: dict[str, str] = {}
    for description in root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"):
        found |= description.attrib
        found |= {child.tag: "".join(child.itertext()).strip() for child in description}
    return found


def test_the_marks_stand_beside_what_the_original_told() -> None:
    found = told(provenance_xmp("kwcolor version 3", SHA256, WHEN, ORIGINAL))
    assert found[f"{DC}title"] == "Bridge"
    assert found["{https://archive.example/ns/}shelf"] == "17 b"
    assert found[f"{XMP}Rating"] == "4"
    assert found[f"{XMP}CreatorTool"] == "Scanner"
    assert found[f"{IPTC}DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert found[f"{OURS}originalDigitalSourceType"].endswith("/negativeFilm")
    assert found[f"{OURS}model"] == "kwcolor version 3"
    assert found[f"{OURS}originalSha256"] == SHA256
    assert found[f"{OURS}date"] == "2026-11-22T12:00:00+00:00"
    abouts = ElementTree.fromstring(
        provenance_xmp("m", SHA256, WHEN, ORIGINAL).decode().split("?>", 1)[1].rsplit("<?", 1)[0]
    )
    about = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    assert {node.get(f"{about}about") for node in abouts.iter(f"{about}Description")} == {"uuid:1"}


def test_a_result_that_is_colorized_again_has_one_set_of_marks() -> None:
    twice = provenance_xmp("second", "cd" * 32, WHEN, provenance_xmp("first", SHA256, WHEN, ORIGINAL))
    assert twice.count(b"<kwcolor:model>") == 1
    assert told(twice)[f"{OURS}model"] == "second"
    assert told(twice)[f"{DC}title"] == "Bridge"


@pytest.mark.parametrize(
    "broken",
    [
        b"<x:xmpmeta",
        b"no packet at all",
        b"<a/>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&a;</x:xmpmeta>',
        b"<a>" * 3000 + b"</a>" * 3000,
        ORIGINAL[:-80],
        ORIGINAL.replace(b"Bridge", b"\xff\xfe\x00"),
    ],
)
def test_a_broken_packet_gives_way_to_the_marks(broken: bytes) -> None:
    found = told(provenance_xmp('a <"model"> & \x00 more', SHA256, WHEN, broken))
    assert found[f"{OURS}model"] == 'a <"model"> & \N{REPLACEMENT CHARACTER} more'
    assert f"{DC}title" not in found


def test_what_iptc_told_is_told_where_nothing_else_tells_it() -> None:
    described = {5: ["other"], 25: ["a", "b"], 120: ["refugees"], 90: ["Pusan"]}
    found = told(provenance_xmp("m", SHA256, WHEN, ORIGINAL, described))
    assert found[f"{DC}title"] == "Bridge"
    assert found[f"{DC}subject"] == "ab"
    assert found[f"{DC}description"] == "refugees"
    assert found["{http://ns.adobe.com/photoshop/1.0/}City"] == "Pusan"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_visible_mark_is_in_the_corner_and_nowhere_else(dtype: type) -> None:
    colour = np.full((300, 400, 3), np.iinfo(dtype).max // 2, dtype)
    marked = with_visible_mark(colour)
    changed = np.argwhere((marked != colour).any(axis=-1))
    assert changed.min(axis=0)[0] > 270
    assert changed.min(axis=0)[1] > 300
    assert marked.max() > 0.8 * np.iinfo(dtype).max
    assert (colour == np.iinfo(dtype).max // 2).all()
    assert with_visible_mark(colour[:10, :10]) is not None


def test_without_marks_the_originals_packet_is_all_there_is(tmp_path: Path) -> None:
    photograph = read_photograph(saved(tmp_path / "a.jpg", Image.fromarray(noise(20, 20)), xmp=ORIGINAL), 10_000)
    write_colorized(tmp_path / "r.jpg", np.zeros((20, 20, 3), np.uint8), photograph, "m", Marking(hidden=False))
    assert Image.open(tmp_path / "r.jpg").info["xmp"] == ORIGINAL


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "heic"])
def test_results_are_signed_with_a_persons_certificate(tmp_path: Path, ending: str) -> None:
    c2pa = pytest.importorskip("c2pa")
    signer = Signer(*write_certificate(tmp_path))
    exif = Image.Exif()
    exif[270] = "Pusan"
    photograph = read_photograph(saved(tmp_path / "a.png", Image.fromarray(noise(40, 50)), exif=exif), 10_000)
    result = tmp_path / f"r.{ending}"
    write_colorized(result, np.dstack([noise(40, 50)] * 3), photograph, "a model", signer=signer)
    with c2pa.Reader(result) as reader:
        report = json.loads(reader.json())
    assert report["validation_state"] == "Valid"
    manifest = report["manifests"][report["active_manifest"]]
    assert [(part["title"], part["relationship"]) for part in manifest["ingredients"]] == [("a.png", "parentOf")]
    (actions,) = (
        part["data"]["actions"] for part in manifest["assertions"] if part["label"].startswith("c2pa.actions")
    )
    assert [action["action"] for action in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    again = read_photograph(result, 10_000)
    assert again.metadata.tree.main[270].data == b"Pusan\0"
    assert b"<kwcolor:model>a model<" in again.metadata.xmp
    changed = bytearray(result.read_bytes())
    changed[-30] ^= 1
    result.write_bytes(changed)
    with c2pa.Reader(result) as reader:
        assert json.loads(reader.json())["validation_state"] == "Invalid"


def test_what_cannot_be_signed_is_said(tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    certificate, key = write_certificate(tmp_path)
    with pytest.raises(SettingsProblem, match="cannot be read"):
        Signer(certificate, tmp_path / "missing.pem")
    with pytest.raises(SettingsProblem, match="key of the certificate cannot be read"):
        Signer(certificate, certificate)
    photograph = read_photograph(saved(tmp_path / "a.png", Image.fromarray(noise(8, 8))), 10_000)
    with pytest.raises(UnreadablePhotograph, match="cannot be signed as JPEG2000"):
        write_colorized(
            tmp_path / "r.jp2", np.zeros((8, 8, 3), np.uint8), photograph, "m", signer=Signer(certificate, key)
        )
    assert not (tmp_path / "r.jp2").exists()
