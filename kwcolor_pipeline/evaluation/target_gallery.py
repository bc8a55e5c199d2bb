"""The target photographs in colour: one picture file each, and the gallery page over them.

Finished pictures are kept: their names hold the photograph's id and the model's weights, so a
killed run goes on where it was and a new photograph is one picture more.
"""

import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.colorize.files import colorized, write_colorized
from kwcolor_pipeline.colorize.reading import UnreadablePhotograph, read_photograph
from kwcolor_pipeline.evaluation.gallery import GalleryItem, write_gallery
from kwcolor_pipeline.home import Home, Result, atomic_path, fingerprint
from kwcolor_pipeline.networks.bundle import read_bundle
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, read_manifest
from kwcolor_pipeline.photos.sheets import chosen, contact_sheet
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings

#: Raise when a change here or in the colorizing engine changes the pictures.
CODE_VERSION = "2"


@dataclass(frozen=True)
class TargetGallery:
    """The gallery: its page, its record, the pictures' paths, and what could not be colorized."""

    index: Path
    result: Result
    reused: bool

    @property
    def pictures(self) -> list[Path]:
        return [self.index.parent / name for name in self.result.summary["pictures"]]


def target_photographs(home: Home) -> list[ManifestRow]:
    """Every stored photograph of the target domain, once, in the order of its year and title."""
    rows: dict[str, ManifestRow] = {}
    for manifest in sorted((home.manifests / "korean_war_photos").glob("*.parquet")):
        for row in read_manifest(manifest):
            if row.status == Status.STORED and row.photo_id is not None:
                rows.setdefault(row.photo_id, row)
    return sorted(rows.values(), key=lambda row: (row.year_taken or 9999, row.title or "", row.photo_id or ""))


def _asked(home: Home, weights: str, rows: Sequence[ManifestRow]) -> str:
    # A photograph that is missing from the store and comes back is another question.
    shown = [
        (row.photo_id, row.title, row.creator, row.date_text, row.licence, row.landing_url, _is_stored(home, row))
        for row in rows
    ]
    return fingerprint({"code": CODE_VERSION, "weights": weights, "photographs": shown})


def _is_stored(home: Home, row: ManifestRow) -> bool:
    try:
        PhotoStore(home.photos).find(row.photo_id or "")
    except FileNotFoundError:
        return False
    return True


def gallery_folder(home: Home) -> Path:
    """Where the gallery lies."""
    return home.reports / "colorized_gallery"


def current_gallery(settings: Settings, bundle_folder: Path) -> TargetGallery | None:
    """The gallery on disk if it shows today's photographs in this model's colours."""
    folder = gallery_folder(settings.paths)
    result = Result.read(folder / "result.json")
    weights = read_bundle(bundle_folder).weights_sha256
    wanted = _asked(settings.paths, weights, target_photographs(settings.paths))
    if result is None or result.fingerprint != wanted:
        return None
    gallery = TargetGallery(folder / "index.html", result, reused=True)
    return gallery if all(path.exists() for path in (gallery.index, *gallery.pictures)) else None


def make_gallery(settings: Settings, bundle_folder: Path, model: str) -> TargetGallery:
    """Colorize what is not yet colorized by this model, at full size, and write the page.

    ``model`` names the version for people. Pictures of other models are deleted at the end.
    Raises SettingsProblem when the bundle cannot be used.
    """
    done = current_gallery(settings, bundle_folder)
    if done is not None:
        return done
    home = settings.paths
    folder = gallery_folder(home)
    weights = read_bundle(bundle_folder).weights_sha256
    rows = target_photographs(home)
    colours = folder / f"{weights[:12]}-{CODE_VERSION}"
    colorizer = open_colorizer(bundle_folder, settings.device)
    store = PhotoStore(home.photos)
    items: list[GalleryItem] = []
    problems: list[str] = []
    for row in tqdm(rows, desc="gallery", unit="photo", disable=not sys.stderr.isatty()):
        assert row.photo_id is not None  # stored rows have one
        name = row.photo_id[:24]
        grey_path, colour_path = folder / "grey" / f"{name}.jpg", colours / f"{name}.jpg"
        if not (grey_path.exists() and colour_path.exists()):
            try:
                photograph = read_photograph(store.find(row.photo_id), settings.download.max_pixels)
                write_colorized(colour_path, colorized(colorizer, photograph, "jpg"), photograph, model)
            except (UnreadablePhotograph, FileNotFoundError) as error:
                problems.append(str(error))
                continue
            with atomic_path(grey_path) as temporary:
                Image.fromarray(photograph.gray).save(temporary, "JPEG", quality=92)
        with Image.open(colour_path) as picture:
            width, height = picture.size
        items.append(
            GalleryItem(
                title=row.title or "untitled",
                date_text=row.date_text,
                creator=row.creator,
                licence=row.licence,
                landing_url=row.landing_url,
                grey_path=grey_path,
                colour_path=colour_path,
                width=width,
                height=height,
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    sample = bool(rows) and all(row.source == "sample" for row in rows)
    index = write_gallery(folder, items, made_by=f"Colorized by {model}.", sample_pictures=sample)
    pixels = fingerprint([_pixel_hash(item.colour_path) for item in items])
    pictures = [str(item.colour_path.relative_to(folder)) for item in items]
    summary = {"photographs": len(items), "problems": problems, "pictures": pictures, "model": model}
    result = Result(_asked(home, weights, rows), pixels, summary)
    result.write(folder / "result.json")
    _forget_other_models(folder, keep={"grey", colours.name})
    return TargetGallery(index, result, reused=False)


def _pixel_hash(path: Path) -> str:
    """Hash of the pixels: the file's own bytes hold the date of their making."""
    with Image.open(path) as picture:
        return hashlib.sha256(picture.tobytes()).hexdigest()


def _forget_other_models(folder: Path, keep: set[str]) -> None:
    for other in folder.iterdir():
        if other.is_dir() and other.name not in keep:
            shutil.rmtree(other)


def gallery_sheet(gallery: TargetGallery) -> bytes | None:
    """A small contact sheet of some of the pictures; None for an empty gallery."""
    names = chosen([str(path) for path in gallery.pictures], 12)
    return contact_sheet([Image.open(name) for name in names], columns=4, cell=128) if names else None
