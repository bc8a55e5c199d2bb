"""What a photograph is of and what was done to it, as far as words, dates and its likeness to others say.

Belongs here: finding words in titles, dates outside the wanted years, and photographs that are like no other.
What follows from it is the affair of ``curation``.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kwcolor_pipeline.photos.measured import Row
from kwcolor_pipeline.settings import CurationSettings

#: Photographs that are needed to say of one that it is like no other.
ENOUGH_TO_COMPARE = 50
# Photographs that another is compared with at most, so that a million cost a million times as much as one.
_COMPARED = 2000
# Most similar ones of them that count; a photograph of a rare subject has a few like it.
_NEIGHBOURS = 5
# Photographs whose similarities are in memory at a time.
_ROWS = 4096
_NOT_LETTERS = re.compile(r"[\W_]+")


class Words:
    """Words and phrases that are looked for in texts.

    Whole words count, whatever their case, accents and hyphens; a word that ends in ``*`` stands for all that begin
    with it.
    """

    def __init__(self, words: Sequence[str]) -> None:
        patterns = [pattern for word in words if (pattern := _pattern(word))]
        # The longest first, so that what is found is the whole phrase.
        alternatives = "|".join(sorted(patterns, key=len, reverse=True))
        self._found = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)") if patterns else None

    def first_in(self, text: str | None, within: int | None = None) -> str | None:
        """The first of the words that ``text`` has, in small letters; None where it has none.

        With ``within`` it has to begin among so many words at the start of the text.
        """
        if not self._found or not text:
            return None
        plain = _normalized(text)
        found = self._found.search(plain)
        if not found or (within is not None and plain.count(" ", 0, found.start()) >= within):
            return None
        return found.group()


def year_outside(row: Row, wanted: CurationSettings) -> tuple[int, int] | None:
    """The year of a photograph that was certainly taken outside the wanted years, and the bound that it passes.

    A range of years has to be outside as a whole. What was published too early was taken too early; what was
    published late may be old, so it only counts where the settings say so. None where nothing is known, and of the
    photographs that packages bring: they are of our time, and there to try the machinery.
    """
    if row.get("source") == "sample":
        return None
    first, last, published = row.get("year_taken"), row.get("year_taken_last"), row.get("year_published")
    if first is not None and first > wanted.last_year_taken:
        return first, wanted.last_year_taken
    latest = (last or first) if first is not None else published
    if latest is not None and latest < wanted.first_year_taken:
        return latest, wanted.first_year_taken
    if published is not None and wanted.last_year_published is not None and published > wanted.last_year_published:
        return published, wanted.last_year_published
    return None


def likeness(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How much each photograph is like the others: the mean cosine with the few that are most like it.

    ``vectors`` [photographs, features] are of unit length, at least ``ENOUGH_TO_COMPARE`` of them. Many are
    compared with evenly chosen ones only.
    """
    chosen = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), _COMPARED)).astype(np.int64))
    others = vectors[chosen]
    found = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _ROWS):
        rows = slice(start, min(start + _ROWS, len(vectors)))
        cosines = vectors[rows] @ others.T
        # Nobody is their own neighbour.
        own = (chosen >= start) & (chosen < rows.stop)
        cosines[chosen[own] - start, np.flatnonzero(own)] = -1
        found[rows] = np.partition(cosines, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:].mean(axis=1)
    return found


def _pattern(word: str) -> str:
    """What matches ``word`` in normalized text; nothing where it has no letters."""
    letters = _normalized(word.removesuffix("*"))
    return re.escape(letters) + (r"\w*" if word.endswith("*") else "") if letters else ""


@functools.lru_cache(maxsize=1024)  # one title is searched for several lists of words
def _normalized(text: str) -> str:
    """Small letters without accents, and one space for all that is neither letter nor figure."""
    small = text.casefold()
    if not small.isascii():
        decomposed = unicodedata.normalize("NFKD", small)
        small = "".join(mark for mark in decomposed if not unicodedata.combining(mark))
    return _NOT_LETTERS.sub(" ", small).strip()
