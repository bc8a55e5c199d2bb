"""What an independent reader of metadata, Debian's exiftool, finds in results: the marks, and every original tag."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from kwcolor_pipeline.colorize.files import colorized, write_colorized
from kwcolor_pipeline.colorize.reading import read_photograph, srgb_profile
from kwcolor_pipeline_tests.colorize.pictures import Even, colorizer_of, noise

pytestmark = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="needs Debian's exiftool (apt-get install libimage-exiftool-perl)"
)

ENDINGS = ("jpg", "png", "tif", "webp", "heic", "jp2")
#: What an archive writes: EXIF, GPS, IPTC's records and XMP.
TOLD = (
    "-EXIF:ImageDescription=Pusan",
    "-EXIF:Artist=J. Doe",
    "-EXIF:Copyright=public domain",
    "-EXIF:Make=Graflex",
    "-EXIF:DateTimeOriginal=1950:08:01 10:00:00",
    "-EXIF:FNumber=5.6",
    "-EXIF:ExposureTime=1/250",
    "-EXIF:UserComment=found in a box",
    "-EXIF:XResolution=600",
    "-EXIF:YResolution=600",
    "-EXIF:Orientation#=6",
    "-GPS:GPSLatitude=35.1",
    "-GPS:GPSLatitudeRef=N",
    "-IPTC:Caption-Abstract=refugees",
    "-IPTC:Keywords=bridge",
    "-IPTC:Keywords=river",
    "-IPTC:City=Pusan",
    "-XMP-dc:Title=Bridge",
    "-XMP-xmp:Rating=4",
    "-XMP-xmp:CreatorTool=a scanner",
    "-XMP-xmp:ModifyDate=2001:02:03 04:05:06",
    "-XMP-photoshop:Headline=Crossing",
    "-XMP-iptcExt:DigitalSourceType=http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm",
)
#: Groups about the file and how its pixels are coded, not about the photograph.
OF_THE_FILE = (
    "System",
    "File",
    "ExifTool",
    "Composite",
    "JFIF",
    "PNG",
    "PNG-pHYs",
    "Jpeg2000",
    "QuickTime",
    "RIFF",
    "Meta",
)
OF_THE_PIXELS = {
    *("Orientation", "YCbCrPositioning", "ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "Predictor"),
    *("PhotometricInterpretation", "StripOffsets", "SamplesPerPixel", "RowsPerStrip", "StripByteCounts"),
    *("PlanarConfiguration", "SampleFormat", "ExifImageWidth", "ExifImageHeight"),
}
#: The same in XMP, for formats without a place for IPTC's records.
IN_XMP = {
    "IPTC:Caption-Abstract": "XMP-dc:Description",
    "IPTC:Keywords": "XMP-dc:Subject",
    "IPTC:City": "XMP-photoshop:City",
}


def tags_of(path: Path) -> dict[str, Any]:
    """Every tag that exiftool reads, by group and name."""
    answer = subprocess.run(["exiftool", "-json", "-G1", "-a", "-n", path], capture_output=True, check=True)
    (found,) = json.loads(answer.stdout)
    assert "ExifTool:Error" not in found
    assert "ExifTool:Warning" not in found
    return found


def original(folder: Path, ending: str) -> Path:
    gray = np.clip(noise(48, 64) // 3 + 60, 0, 255).astype(np.uint8)
    rgb = np.dstack([gray, gray, gray // 2])
    path = folder / f"original.{ending}"
    match ending:
        case "heic":
            pillow_heif = pytest.importorskip("pillow_heif")
            made = pillow_heif.from_pillow(Image.fromarray(rgb))
            made.info["icc_profile"] = srgb_profile()
            made.save(path, quality=90)
        case "tif":
            deep = rgb.astype(np.uint16) * 257
            profile = srgb_profile()
            tifffile.imwrite(path, deep, photometric="rgb", iccprofile=profile, compression="lzw", metadata=None)
        case "jp2":
            path.write_bytes(imagecodecs.jpeg2k_encode(rgb, level=0, codecformat="jp2", reversible=True))
        case _:
            Image.fromarray(rgb).save(path, icc_profile=srgb_profile())
    subprocess.run(["exiftool", "-q", "-m", "-overwrite_original", *TOLD, path], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("source", ENDINGS)
def test_results_of_every_format_tell_all_that_the_original_told(tmp_path: Path, source: str) -> None:
    path = original(tmp_path, source)
    before = tags_of(path)
    assert before["XMP-dc:Title"] == "Bridge"
    photograph = read_photograph(path, 100_000)
    assert photograph.frames[0].shape == ((48, 64) if source == "heic" else (64, 48))  # HEIF turns by itself
    told = {
        name: value
        for name, value in before.items()
        if ":" in name and name.split(":")[0] not in OF_THE_FILE and name.split(":")[1] not in OF_THE_PIXELS
    }
    assert len(told) > 20
    for ending in ENDINGS:
        result = tmp_path / f"result.{ending}"
        write_colorized(
            result, colorized(colorizer_of(Even(10, 20)), photograph, ending), photograph, "kwcolor version 7"
        )
        after = tags_of(result)
        assert after["XMP-iptcExt:DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
        ours = {name.split(":")[1].lower(): value for name, value in after.items() if name.startswith("XMP-kwcolor:")}
        assert ours["model"] == "kwcolor version 7"
        assert ours["originalsha256"] == photograph.sha256
        assert ours["originaldigitalsourcetype"].endswith("/negativeFilm")
        assert "date" in ours
        expected = {name: value for name, value in told.items() if not name.endswith("DigitalSourceType")}
        if ending in ("webp", "heic"):
            expected = {IN_XMP.get(name, name): value for name, value in expected.items()}
            expected.pop("IPTC:ApplicationRecordVersion", None)
        if not photograph.space.profile:
            assert not any(name.startswith("ICC") for name in told)
        missing = {name: (value, after.get(name)) for name, value in expected.items() if after.get(name) != value}
        assert missing == {}, ending
        assert after.get("IFD0:Orientation", 1) == 1
