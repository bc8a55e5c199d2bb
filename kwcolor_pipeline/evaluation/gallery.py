"""The gallery of colorized photographs: an index page beside the pictures.

Belongs here: the page and its links. Colorizing and writing the picture files is the ``colorize``
room's affair.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from kwcolor_pipeline.evaluation.pages import environment, script_hash
from kwcolor_pipeline.home import write_bytes


@dataclass(frozen=True)
class GalleryItem:
    """A photograph before and after; the two files have the same aspect ratio and a format that browsers show.

    ``width`` and ``height`` are the pictures' in pixels, so that the page does not jump while they load.
    Every text may be hostile: it is escaped, and an address that is not of the web is not linked.
    """

    title: str
    date_text: str | None
    creator: str | None
    licence: str | None
    landing_url: str | None
    grey_path: Path
    colour_path: Path
    width: int
    height: int


def _relative_link(path: Path, folder: Path) -> str:
    """The address of ``path`` from a page in ``folder``; a relative ``path`` is relative to ``folder``."""
    return quote(Path(os.path.relpath(folder / path, folder)).as_posix())


def write_gallery(folder: Path, items: Sequence[GalleryItem], made_by: str = "", sample_pictures: bool = False) -> Path:
    """Write ``index.html`` into ``folder`` and give its path; the pictures stay where they are.

    ``made_by`` is one sentence about the model and when; ``sample_pictures`` puts up the notice that
    these are not photographs of the Korean War.
    """
    templates = environment()
    # The page's own script is the only one that its policy lets run, whatever a title may carry.
    script = templates.get_template("gallery.js.j2").render()
    shown = [
        {
            "photo": item,
            "grey": _relative_link(item.grey_path, folder),
            "colour": _relative_link(item.colour_path, folder),
        }
        for item in items
    ]
    html = templates.get_template("gallery.html.j2").render(
        items=shown,
        made_by=made_by,
        sample_pictures=sample_pictures,
        script=script,
        script_hash=script_hash(script),
    )
    index = folder / "index.html"
    write_bytes(index, html.encode())
    return index
