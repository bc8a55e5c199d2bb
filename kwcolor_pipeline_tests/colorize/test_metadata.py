"""EXIF's trees, IPTC's records and Photoshop's blocks: what goes in comes out, and broken bytes do no harm."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.colorize import metadata as tags
from kwcolor_pipeline.colorize.metadata import Metadata, Tag, Tree

_TAG = st.one_of(
    st.binary(min_size=1, max_size=40).map(lambda data: Tag(7, len(data), data)),
    st.lists(st.integers(0, 65535), min_size=1, max_size=9).map(
        lambda values: Tag(3, len(values), struct.pack(f"<{len(values)}H", *values))
    ),
    st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2).map(lambda pair: Tag(5, 1, struct.pack("<II", *pair))),
    st.floats(allow_nan=False).map(lambda value: Tag(12, 1, struct.pack("<d", value))),
)
_POINTERS = {tags.EXIF_FOLDER, tags.GPS_FOLDER, tags.INTEROP_FOLDER}
_FOLDER = st.dictionaries(st.integers(1, 65535).filter(lambda code: code not in _POINTERS), _TAG, max_size=12)
TREES = st.builds(Tree, main=_FOLDER, exif=_FOLDER, gps=_FOLDER, interop=_FOLDER)


def without_pointers(tree: Tree) -> Tree:
    def kept(folder: dict[int, Tag]) -> dict[int, Tag]:
        return {code: tag for code, tag in folder.items() if code not in _POINTERS}

    return Tree(kept(tree.main), kept(tree.exif), tree.gps, tree.interop)


@settings(max_examples=60)
@given(TREES)
def test_every_tag_comes_back_with_its_type_count_and_bytes(tree: Tree) -> None:
    block = tags.exif_block(tree)
    if tree:
        assert without_pointers(tags.read_tree(block)) == tree
        assert tags.read_tree(b"Exif\0\0" + block) == tags.read_tree(block)
    else:
        assert block == b""


def test_the_order_of_bytes_does_not_matter() -> None:
    exif = Image.Exif()
    exif[270], exif[282] = "Pusan", 300.5
    exif[0x8769] = {0x829D: 5.6, 0x9003: "1950:08:01 10:00:00", 0xA002: 4000}
    exif[0x8825] = {1: "N", 2: (35.0, 6.0, 30.25)}
    blocks = {}
    for order, mark in (("<", b"II"), (">", b"MM")):
        exif.endian = order
        blocks[order] = exif.tobytes()
        assert blocks[order][6:8] == mark
    little, big = (without_pointers(tags.read_tree(block)) for block in blocks.values())
    assert little == big
    assert little.main[282].data == struct.pack("<II", 601, 2)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("pages", [1, 3])
def test_tags_are_added_to_every_page_of_a_tiff(tmp_path: Path, big: bool, pages: int) -> None:
    path = tmp_path / "a.tif"
    pictures = [np.full((40, 30, 3), 40 * page, np.uint16) for page in range(pages)]
    with tifffile.TiffWriter(path, bigtiff=big, byteorder="<") as writer:
        for picture in pictures:
            writer.write(picture, photometric="rgb", compression="zlib", metadata=None, software=False)
    told = [
        Tree(
            {270: Tag(2, 7, b"page %d\0" % page), 282: Tag(5, 1, struct.pack("<II", 600, 1))},
            {37510: Tag(7, 9, b"A comment")},
        )
        for page in range(pages)
    ]
    data = path.read_bytes()
    added, patches = tags.add_to_tiff(memoryview(data), told, len(data))
    changed = bytearray(data + added)
    for place, value in patches.items():
        changed[place : place + len(value)] = value
    path.write_bytes(changed)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == pages
        for page, picture in enumerate(pictures):
            assert (tiff.pages[page].asarray() == picture).all()
            assert tiff.pages[page].tags[270].value == f"page {page}"
            assert tiff.pages[page].tags[282].value == (600, 1)
    read = tags.read_pages(memoryview(bytes(changed)), 10)
    assert [tree.exif[37510].data for tree in read] == [b"A comment"] * pages


def test_what_tells_of_storage_is_left_behind() -> None:
    tree = Tree({code: Tag(3, 1, b"\1\0") for code in (256, 259, 273, 274, 282, 700, 34675, 315)})
    assert sorted(tags.telling(tree).main) == [282, 315]


def test_a_size_that_is_told_is_that_of_the_upright_picture() -> None:
    tree = Tree(exif={40962: Tag(3, 1, b"\x28\0"), 40963: Tag(3, 1, b"\x14\0")})
    turned = tags.of_size(tree, 20, 40)
    assert [int.from_bytes(turned.exif[code].data, "little") for code in (40962, 40963)] == [20, 40]
    assert tags.of_size(tree, 40, 20) is tree
    assert tags.of_size(Tree(), 20, 40) == Tree()


def _block(number: int, content: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + b"\0" * (len(content) % 2)


def test_photoshops_blocks_are_kept_but_for_stale_ones() -> None:
    iptc = b"\x1c\x02\x78\0\x08refugees\x1c\x02\x19\0\x01a\x1c\x02\x19\0\x01b"
    data = _block(1005, b"resolution") + _block(1036, b"thumbnail") + _block(1028, iptc) + _block(1062, b"odd")
    found, others = tags.split_photoshop(data)
    assert found == iptc
    assert others == _block(1005, b"resolution") + _block(1062, b"odd")
    assert tags.split_photoshop(tags.photoshop_blocks(Metadata(iptc=iptc, photoshop=others))) == (iptc, others)
    assert list(tags.iptc_records(iptc)) == [(120, "refugees"), (25, "a"), (25, "b")]


@settings(max_examples=200)
@given(st.data())
def test_broken_blocks_are_read_as_far_as_they_are_sound_or_refused(data: st.DataObject) -> None:
    broken = bytearray(tags.exif_block(data.draw(TREES.filter(bool))))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(broken[: data.draw(st.integers(0, len(broken)))])
    for read in (tags.read_tree, lambda block: tags.read_pages(block, 50)):
        try:
            found = read(cut)
        except ValueError:
            continue
        for tree in [found] if isinstance(found, Tree) else found:
            tags.exif_block(tags.telling(tree))
    list(tags.iptc_records(cut))
    tags.split_photoshop(b"8BIM" + cut)
