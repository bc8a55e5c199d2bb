"""What a picture file tells besides its pixels, as bytes that can be put into another file.

Belongs here: EXIF's trees of tags, IPTC's records and Photoshop's blocks, read and written without interpreting them:
a tag keeps its type, its count and its bytes, and so what any other program reads from it. Which file format keeps
them where is in ``reading`` and ``files``; XMP is in ``provenance``.

The structures are those of TIFF 6.0, Exif 2.32 (CIPA DC-008) and BigTIFF, of IPTC-IIM 4.2, and of Adobe's Photoshop
file format.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

Buffer = bytes | memoryview

#: Bytes of one value of each type; and of one number, by which byte orders differ.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {**_SIZES, 5: 4, 10: 4}
_SHORT, _LONG, _UNDEFINED, _LONG8, _IFD8 = 3, 4, 7, 16, 18
#: No folder of tags has more, and no tag tells so much.
_MOST_TAGS, _MOST_BYTES = 4096, 100_000_000

EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER = 0x8769, 0x8825, 0xA005
ORIENTATION, XMP, IPTC, PHOTOSHOP, ICC = 274, 700, 33723, 34377, 34675
_MAKER_NOTE, _PIXEL_WIDTH, _PIXEL_HEIGHT = 37500, 40962, 40963
#: Tags that tell how pixels are stored, or lead to other pictures: those of the original are not those of the result.
_STORAGE = (
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291}
    | {292, 293, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 338, 339, 340, 341, 342}
    | {347, 400, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 559, 32781, 33421, 33422, 34732}
    | {37724, 50255, 50784}
)
_ELSEWHERE = {EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER, XMP, ICC}
#: Photoshop's blocks with pictures or profiles of the original: thumbnails, ICC, and XMP, which has its own place.
_STALE_BLOCKS = {1033, 1036, 1039, 1060}
_IPTC_BLOCK = 1028


@dataclass(frozen=True)
class Tag:
    """A tag's type, number of values and bytes, in little-endian order."""

    type: int
    count: int
    data: bytes


Tags = dict[int, Tag]


@dataclass(frozen=True)
class Tree:
    """The tags of a picture, of EXIF's folder, of the position, and of interoperability."""

    main: Tags = field(default_factory=dict)
    exif: Tags = field(default_factory=dict)
    gps: Tags = field(default_factory=dict)
    interop: Tags = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.main or self.exif or self.gps or self.interop)


@dataclass(frozen=True)
class Metadata:
    """Everything that is carried over from an original.

    ``photoshop`` are Photoshop's blocks without IPTC's, ``text`` the keywords and texts of a PNG. ``pages`` are the
    trees of a TIFF's further pages.
    """

    tree: Tree = field(default_factory=Tree)
    xmp: bytes = b""
    iptc: bytes = b""
    photoshop: bytes = b""
    text: Mapping[str, str] = field(default_factory=dict)
    comment: bytes = b""
    dpi: tuple[float, float] | None = None
    pages: tuple[Tree, ...] = ()


#: That of a file which tells nothing.
NO_METADATA = Metadata()


class _Reader:
    """Reads folders of tags of one TIFF structure."""

    def __init__(self, data: Buffer):
        order = bytes(data[:2])
        if order not in (b"II", b"MM") or len(data) < 8:
            raise ValueError("it does not begin as TIFF")
        self.data = data
        self.order = "<" if order == b"II" else ">"
        (version,) = self._unpack("H", 2)
        if version not in (42, 43):
            raise ValueError("it does not begin as TIFF")
        self.big = version == 43
        (self.first,) = self._unpack("Q", 8) if self.big else self._unpack("I", 4)

    def _unpack(self, form: str, place: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + form, self.data, place)
        except struct.error as error:
            raise ValueError("it is cut off") from error

    def folder(self, place: int) -> tuple[Tags, int]:
        """The tags of the folder at ``place``, and where the next one is; tags that are damaged are left out."""
        (count,) = self._unpack("Q" if self.big else "H", place)
        place += 8 if self.big else 2
        size, inline = (20, 8) if self.big else (12, 4)
        if count > _MOST_TAGS:
            raise ValueError("it has too many tags")
        tags: Tags = {}
        for number in range(count):
            start = place + number * size
            code, kind, values = self._unpack("HHQ" if self.big else "HHI", start)
            length = values * _SIZES.get(kind, 0)
            at = start + size - inline
            if length > inline:
                (at,) = self._unpack("Q" if self.big else "I", at)
            found = bytes(self.data[at : at + length]) if 0 < length <= min(_MOST_BYTES, len(self.data)) else b""
            if len(found) == length and length:
                tags.setdefault(code, Tag(kind, values, _swapped(found, _NUMBERS[kind], self.order)))
        (following,) = self._unpack("Q" if self.big else "I", place + count * size)
        return tags, following

    def below(self, tags: Tags, code: int) -> Tags:
        """The tags of the folder to which the tag ``code`` leads; none where it leads nowhere."""
        if code not in tags or len(tags[code].data) < 4:
            return {}
        try:
            return self.folder(int.from_bytes(tags[code].data, "little"))[0]
        except ValueError:
            return {}

    def tree(self, place: int) -> tuple[Tree, int]:
        tags, following = self.folder(place)
        exif = self.below(tags, EXIF_FOLDER)
        interop = self.below(exif, INTEROP_FOLDER)
        return Tree(tags, exif, self.below(tags, GPS_FOLDER), interop), following


def _swapped(data: bytes, size: int, order: str) -> bytes:
    """Little-endian bytes of numbers of ``size`` bytes."""
    if order == "<" or size == 1:
        return data
    return b"".join(data[start : start + size][::-1] for start in range(0, len(data), size))


def read_tree(data: Buffer) -> Tree:
    """The tags of an EXIF block or of a TIFF's first page, everything included.

    Raises ValueError when it is none.
    """
    data = data[6:] if bytes(data[:6]) == b"Exif\0\0" else data
    reader = _Reader(data)
    return reader.tree(reader.first)[0]


def read_pages(data: Buffer, most: int) -> list[Tree]:
    """The tags of each page of a TIFF, of at most ``most``.

    Raises ValueError where there is no TIFF.
    """
    reader = _Reader(data)
    pages: list[Tree] = []
    seen: set[int] = set()
    place = reader.first
    while place and place not in seen and len(pages) < most:
        seen.add(place)
        tree, place = reader.tree(place)
        pages.append(tree)
    return pages


def telling(tree: Tree) -> Tree:
    """The tags that tell of the photograph, without those that tell how its pixels are stored."""
    main = {code: tag for code, tag in tree.main.items() if code not in _STORAGE | _ELSEWHERE}
    exif = {code: tag for code, tag in tree.exif.items() if code != INTEROP_FOLDER}
    return Tree(main, exif, tree.gps, tree.interop)


def of_size(tree: Tree, width: int, height: int) -> Tree:
    """``tree`` telling the size of the picture where it tells one: turned upright, it may be another."""
    sizes = {_PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
    told = {code: Tag(_LONG, 1, struct.pack("<I", side)) for code, side in sizes.items() if code in tree.exif}
    unlike = {code: tag for code, tag in told.items() if int.from_bytes(tree.exif[code].data, "little") != sizes[code]}
    return replace(tree, exif=tree.exif | unlike) if unlike else tree


def without_maker_note(tree: Tree) -> Tree:
    """``tree`` without what only the camera's maker can read: often most of it."""
    return replace(tree, exif={code: tag for code, tag in tree.exif.items() if code != _MAKER_NOTE})


def orientation_of(tree: Tree) -> int:
    """EXIF's orientation 1..8; 1 where there is none."""
    tag = tree.main.get(ORIENTATION)
    value = int.from_bytes(tag.data[:2], "little") if tag else 1
    return value if 1 <= value <= 8 else 1


class Layout:
    """Where folders and their values come to lie behind ``start`` bytes, in a classic or a big TIFF."""

    def __init__(self, start: int, big: bool = False):
        self._start = start
        self._big = big
        self._parts: list[bytes] = []
        self._length = 0

    def place(self, data: bytes) -> int:
        """Put ``data`` at an even place; give the place."""
        if (self._start + self._length) % 2:
            self._parts.append(b"\0")
            self._length += 1
        at = self._start + self._length
        self._parts.append(data)
        self._length += len(data)
        return at

    def folder(self, tags: Tags, raw: Mapping[int, bytes] | None = None, following: int = 0) -> int:
        """Put a folder with ``tags``, and with entries of ``raw`` as they are; give its place."""
        inline = 8 if self._big else 4
        entries = dict(raw or {})
        for code, tag in tags.items():
            kind, data = tag.type, tag.data
            if kind in (_LONG8, 17, _IFD8) and not self._big:
                continue  # a classic TIFF knows no numbers of eight bytes
            value = data.ljust(inline, b"\0") if len(data) <= inline else self._offset(self.place(data))
            entries[code] = struct.pack("<HHQ" if self._big else "<HHI", code, kind, tag.count) + value
        count = struct.pack("<Q" if self._big else "<H", len(entries))
        return self.place(count + b"".join(entries[code] for code in sorted(entries)) + self._offset(following))

    def tree(self, tree: Tree, raw: Mapping[int, bytes] | None = None, following: int = 0) -> int:
        """Put all folders of ``tree``; give the place of the first."""
        main, exif = dict(tree.main), dict(tree.exif)
        if tree.interop:
            exif[INTEROP_FOLDER] = self._pointer(self.folder(tree.interop))
        if exif:
            main[EXIF_FOLDER] = self._pointer(self.folder(exif))
        if tree.gps:
            main[GPS_FOLDER] = self._pointer(self.folder(tree.gps))
        return self.folder(main, raw, following)

    def _pointer(self, place: int) -> Tag:
        return Tag(_IFD8 if self._big else _LONG, 1, self._offset(place))

    def _offset(self, place: int) -> bytes:
        return struct.pack("<Q" if self._big else "<I", place)

    def written(self) -> bytes:
        """Everything put so far."""
        return b"".join(self._parts)


def exif_block(tree: Tree) -> bytes:
    """The EXIF block with these tags, as it is in a PNG; empty without any."""
    if not tree:
        return b""
    layout = Layout(8)
    first = layout.tree(tree)
    return b"II*\0" + struct.pack("<I", first) + layout.written()


def add_to_tiff(data: memoryview, trees: list[Tree], end: int) -> tuple[bytes, dict[int, bytes]]:
    """What to add behind a little-endian TIFF of ``end`` bytes, and what to write where, so that its pages have tags.

    ``trees`` are those of the pages, in their order; of what a page has already, only how its pixels are stored stays.
    """
    reader = _Reader(data)
    layout = Layout(end, reader.big)
    folders: list[dict[int, bytes]] = []
    place = reader.first
    while place:
        raw, place = _raw_entries(data, place, reader.big)
        folders.append(raw)
    following = 0
    for raw, tree in reversed(list(zip(folders, trees, strict=True))):  # each folder holds the place of the next
        following = layout.tree(tree, raw, following)
    return layout.written(), {8 if reader.big else 4: following.to_bytes(8 if reader.big else 4, "little")}


def _raw_entries(data: memoryview, place: int, big: bool) -> tuple[dict[int, bytes], int]:
    """Entries of a folder as they are, and the place of the next folder."""
    (count,) = struct.unpack_from("<Q" if big else "<H", data, place)
    place += 8 if big else 2
    size = 20 if big else 12
    entries = [bytes(data[place + number * size : place + (number + 1) * size]) for number in range(count)]
    (following,) = struct.unpack_from("<Q" if big else "<I", data, place + count * size)
    raw = {int.from_bytes(entry[:2], "little"): entry for entry in entries}
    return {code: entry for code, entry in raw.items() if code in _STORAGE}, following


def _blocks(data: Buffer) -> Iterator[tuple[int, bytes, bytes]]:
    """Photoshop's blocks: number, content, and the whole block. Ends where they are damaged."""
    data = bytes(data)
    place = 0
    while data[place : place + 4] in (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR") and len(data) >= place + 12:
        number = int.from_bytes(data[place + 4 : place + 6], "big")
        start = place + 6 + (data[place + 6] + 2) // 2 * 2
        length = int.from_bytes(data[start : start + 4], "big")
        content = data[start + 4 : start + 4 + length]
        if len(content) != length:
            return
        end = start + 4 + (length + 1) // 2 * 2
        yield number, content, data[place:end].ljust(end - place, b"\0")
        place = end


def split_photoshop(data: Buffer) -> tuple[bytes, bytes]:
    """IPTC's records in Photoshop's blocks, and the other blocks that still hold for the result."""
    iptc, others = b"", b""
    for number, content, whole in _blocks(data):
        if number == _IPTC_BLOCK:
            iptc = content
        elif number not in _STALE_BLOCKS:
            others += whole
    return iptc, others


def photoshop_blocks(metadata: Metadata) -> bytes:
    """Photoshop's blocks with IPTC's records among them."""
    if not metadata.iptc:
        return metadata.photoshop
    content = metadata.iptc + b"\0" * (len(metadata.iptc) % 2)
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(metadata.iptc)) + content + metadata.photoshop


def undefined(data: bytes) -> Tag:
    """A tag of bytes that TIFF gives no meaning."""
    return Tag(_UNDEFINED, len(data), data)


def iptc_records(data: bytes) -> Iterator[tuple[int, str]]:
    """Number and text of the records that describe the picture (record 2); ends where they are damaged."""
    utf8 = b"\x1b%G" in data[:64]
    place = 0
    while data[place : place + 1] == b"\x1c" and len(data) >= place + 5:
        record, number, length = struct.unpack_from(">BBH", data, place + 1)
        if length & 0x8000:
            return
        content = data[place + 5 : place + 5 + length]
        place += 5 + length
        if record == 2 and number and len(content) == length:
            yield number, content.decode("utf-8" if utf8 else "latin-1", "replace")
