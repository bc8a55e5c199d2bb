"""The content-addressed photo store: ``photos/ab/abcd….jpg``.

A photograph's id is the sha256 of its file's bytes, so storing it twice changes nothing and two
workers that store the same picture at once do no harm.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from kwcolor_pipeline.home import sha256_of, write_bytes

#: File name endings by PIL format name: the picture formats that the store takes.
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}


#: The same by the media types that manifests hold.
EXTENSION_OF_MIME = {f"image/{name.lower()}": extension for name, extension in EXTENSIONS.items()}


def photo_id_of(data: bytes) -> str:
    """Hex sha256 of the bytes."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class PhotoStore:
    """Pictures below ``root``, named by their content."""

    root: Path

    @staticmethod
    def name(photo_id: str, extension: str) -> str:
        """Where a picture lies below the store's root."""
        return f"{photo_id[:2]}/{photo_id}.{extension}"

    def path(self, photo_id: str, extension: str) -> Path:
        return self.root / self.name(photo_id, extension)

    def put(self, data: bytes, pil_format: str) -> str:
        """Store the bytes of a picture whose format PIL calls ``pil_format``; give its id.

        Raises ValueError for a format that the store does not take.
        """
        if pil_format not in EXTENSIONS:
            raise ValueError(f"{pil_format} is not a picture format that the store takes: {', '.join(EXTENSIONS)}")
        photo_id = photo_id_of(data)
        path = self.path(photo_id, EXTENSIONS[pil_format])
        if not path.exists():
            write_bytes(path, data)
        return photo_id

    def find(self, photo_id: str) -> Path:
        """The file of ``photo_id``.

        Raises FileNotFoundError that says what to do when it is not there.
        """
        for extension in EXTENSIONS.values():
            path = self.path(photo_id, extension)
            if path.exists():
                return path
        raise FileNotFoundError(
            f"photograph {photo_id[:12]}… is listed in a manifest but missing from {self.root}; "
            "crawl its year again to fetch it"
        )

    def damaged(self) -> list[Path]:
        """Files whose bytes no longer have the hash in their name."""
        stored = (path for path in sorted(self.root.glob("??/*.*")) if not path.name.startswith("."))
        return [path for path in stored if sha256_of(path) != path.stem]
