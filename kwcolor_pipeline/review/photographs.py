"""The photographs that a person reviews: `curated_photos` and the decisions, as both are on the disk now.

Belongs here: the views, their order and pages, what is told of a photograph and its copies, and
noticing that a run or an editor has changed a file. How it is drawn and sent does not.
"""

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from kwcolor_pipeline.evaluation.pages import web_link
from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.borders import Box
from kwcolor_pipeline.photos.curation import read_curated
from kwcolor_pipeline.photos.decisions import KEEP, REJECT, UNDECIDED, append_decision, decisions_path, read_decisions
from kwcolor_pipeline.photos.measured import Row
from kwcolor_pipeline.photos.near_duplicates import read_deduplicated
from kwcolor_pipeline.review.words import explained, in_words
from kwcolor_pipeline.settings import Settings, SettingsProblem

#: Most photographs of one page.
LARGEST_PAGE = 200

#: Names of the views; :func:`_views_of` says what each shows.
VIEWS = ("review", "rejected", "kept", "decided", "all")


@dataclass(frozen=True)
class _Table:
    """The curated photographs in the order in which they are shown, and the copies of those that have several."""

    rows: list[Row]
    position: dict[str, int]
    searched: list[str]
    copies: dict[str, list[Row]]
    #: The photograph that is shown for a copy.
    shown_for: dict[str, str]
    #: The views of each, and how many photographs and reasons each view has, as if nothing was decided.
    views: list[frozenset[str]]
    counts: Counter[str]
    reasons: dict[str, Counter[str]]
    version: str


@dataclass(frozen=True)
class _Decisions:
    """What is decided of single photographs, and what follows for those that are shown."""

    of_photographs: dict[str, str]
    of_shown: dict[str, str]
    #: The views of what is decided; how many photographs and reasons each view has.
    views: dict[str, frozenset[str]]
    counts: Counter[str]
    reasons: dict[str, Counter[str]]
    #: Photographs that the next run judges otherwise than the last one did.
    pending: int
    version: str


class Photographs:
    """What there is to review. Methods may be called from several threads.

    Raises SettingsProblem, here and in every method, where `curated_photos` is not there or the
    decisions cannot be read or written.
    """

    def __init__(self, settings: Settings) -> None:
        self.decisions_path = decisions_path(settings)
        self._home = settings.paths
        self._lock = threading.Lock()
        self._table = _read_table(self._home)
        self._decisions = _read_decisions(self.decisions_path, self._table)

    def page(self, view: str, reason: str, words: str, after: str, offset: int, limit: int) -> dict[str, Any]:
        """At most ``limit`` photographs of a view, behind the photograph ``after`` and ``offset`` more.

        ``reason`` and ``words`` narrow the view where they are not empty; all words have to occur.
        Raises KeyError for a view or a photograph that does not exist.
        """
        table, decisions = self._now()
        if view not in VIEWS:
            raise KeyError(view)
        first = table.position[after] + 1 if after else 0
        sought = words.casefold().split()
        found = [
            row
            for row, views, text in zip(table.rows[first:], table.views[first:], table.searched[first:], strict=True)
            if view in decisions.views.get(row["photo_id"], views)
            and (not reason or reason in _reasons(row))
            and all(word in text for word in sought)
        ]
        shown = found[offset : offset + min(limit, LARGEST_PAGE)]
        return {
            "photographs": [_card(row, table, decisions) for row in shown],
            "remaining": len(found) - offset - len(shown),
            "reasons": [
                {"reason": name, "words": in_words(name), "count": count}
                for name, count in decisions.reasons[view].most_common()
                if count
            ],
            **_standing(table, decisions),
        }

    def details(self, photo_id: str) -> dict[str, Any]:
        """A photograph that is shown, and all its copies, the best one first. Raises KeyError for another."""
        table, decisions = self._now()
        row = table.rows[table.position[photo_id]]
        copies = table.copies.get(photo_id, [row])
        return {
            **_card(row, table, decisions),
            "copies": [_copy(copy, row, decisions) for copy in copies],
            **_standing(table, decisions),
        }

    def decide(self, photo_id: str, decision: str) -> dict[str, Any]:
        """Write what is decided of a photograph or of one of its copies, and tell what is then shown for it.

        What is decided already is not written again. Raises KeyError for a photograph that is not there.
        """
        with self._lock:
            table, decisions = self._read()
            shown = table.shown_for[photo_id]
            for about in _about(photo_id, decision, table, decisions):
                if decisions.of_photographs.get(about, UNDECIDED) != decision:
                    append_decision(self.decisions_path, about, decision)
            table, decisions = self._read()
        row = table.rows[table.position[table.shown_for[shown]]]
        return {"photograph": _card(row, table, decisions), **_standing(table, decisions)}

    def box(self, photo_id: str) -> Box | None:
        """The part of a photograph that is learned from; None where it was not measured. KeyError for another."""
        table, _ = self._now()
        if table.shown_for[photo_id] != photo_id:
            return None
        return _box(table.rows[table.position[photo_id]])

    def finish(self) -> None:
        """Wait for the decision that is being written, and take no more."""
        self._lock.acquire()

    def _now(self) -> tuple[_Table, _Decisions]:
        with self._lock:
            return self._read()

    def _read(self) -> tuple[_Table, _Decisions]:
        if _version(*_tables(self._home)) != self._table.version:
            self._table = _read_table(self._home)
            self._decisions = _read_decisions(self.decisions_path, self._table)
        if _version(self.decisions_path) != self._decisions.version:
            self._decisions = _read_decisions(self.decisions_path, self._table)
        return self._table, self._decisions


def _tables(home: Home) -> tuple[Path, Path]:
    return home.manifests / "curated_photos" / "all.parquet", home.manifests / "deduplicated_photos" / "all.parquet"


def _version(*paths: Path) -> str:
    """Another text whenever one of the files was replaced or changed."""
    return " ".join(_stamp(path) for path in paths)


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return "none"
    return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"


def _read_table(home: Home) -> _Table:
    # Before reading: what changes meanwhile is then read again.
    version = _version(*_tables(home))
    rows, photographs = _readable(read_curated, home), _readable(read_deduplicated, home)
    rows.sort(key=_order)
    copies = _copies(rows, photographs)
    shown_for = {row["photo_id"]: row["photo_id"] for row in rows}
    for shown, members in copies.items():
        for copy in members:
            shown_for.setdefault(copy["photo_id"], shown)
    views = [_views_of(row, None) for row in rows]
    counts, reasons = Counter[str](), {view: Counter[str]() for view in VIEWS}
    for row, its_views in zip(rows, views, strict=True):
        _count(counts, reasons, row, its_views, 1)
    return _Table(
        rows=rows,
        position={row["photo_id"]: position for position, row in enumerate(rows)},
        searched=[_searched(row) for row in rows],
        copies=copies,
        shown_for=shown_for,
        views=views,
        counts=counts,
        reasons=reasons,
        version=version,
    )


def _readable(read: Callable[[Home], list[Row]], home: Home) -> list[Row]:
    select = "`kwcolor run --select crawled_photos,deduplicated_photos,curated_photos`"
    try:
        return read(home)
    except FileNotFoundError as error:
        raise SettingsProblem(
            f"There are no curated photographs to review yet; {select} makes them, and `kwcolor run` all the rest too."
        ) from error
    except pa.ArrowInvalid as error:
        raise SettingsProblem(
            f"A table in {home.manifests} is damaged ({error}); remove all.parquet of curated_photos and "
            f"deduplicated_photos there, and {select} makes them again."
        ) from error


def _copies(rows: list[Row], photographs: list[Row]) -> dict[str, list[Row]]:
    """The copies of the shown photographs that have several, best first, by the shown photograph's id."""
    clusters: dict[str, list[Row]] = defaultdict(list)
    for row in photographs:
        clusters[row["cluster_id"]].append(row)
    found = {}
    for row in rows:
        members = clusters[row["cluster_id"]]
        if len(members) > 1:
            members.sort(key=lambda copy: (copy.get("rank") or 0, not copy["representative"], copy["photo_id"]))
            found[row["photo_id"]] = members
    return found


def _read_decisions(path: Path, table: _Table) -> _Decisions:
    version = _version(path)
    decisions = read_decisions(path)
    of_shown: dict[str, str] = {}
    for photo_id, decision in decisions.items():
        shown = table.shown_for.get(photo_id)
        if shown:
            of_shown[shown] = decisions.get(shown) or (KEEP if KEEP in (decision, of_shown.get(shown)) else REJECT)
    views: dict[str, frozenset[str]] = {}
    counts, reasons = Counter(table.counts), {view: Counter(table.reasons[view]) for view in VIEWS}
    pending = 0
    for shown, decision in of_shown.items():
        position = table.position[shown]
        row = table.rows[position]
        views[shown] = _views_of(row, decision)
        _count(counts, reasons, row, table.views[position], -1)
        _count(counts, reasons, row, views[shown], 1)
        pending += _changes(row, decision)
    return _Decisions(decisions, of_shown, views, counts, reasons, pending, version)


def _count(counts: Counter[str], reasons: dict[str, Counter[str]], row: Row, views: frozenset[str], by: int) -> None:
    for view in views:
        counts[view] += by
        for reason in _reasons(row):
            reasons[view][reason] += by


def _about(photo_id: str, decision: str, table: _Table, decisions: _Decisions) -> Iterator[str]:
    """The photographs that a decision is written about.

    Taking back what a copy's line says about the photograph that is shown means that line.
    """
    if decision != UNDECIDED or photo_id in decisions.of_photographs or table.shown_for[photo_id] != photo_id:
        yield photo_id
    else:
        yield from (copy["photo_id"] for copy in table.copies.get(photo_id, []))


def _views_of(row: Row, decision: str | None) -> frozenset[str]:
    """The views that show a photograph about which a person has decided so, or not at all."""
    views = {"kept" if row["kept"] else "rejected", "all"}
    if decision is not None:
        views.add("decided")
    elif row.get("review"):
        views.add("review")
    return frozenset(views)


def _order(row: Row) -> tuple[Any, ...]:
    """What has to be looked at first, one reason after the other, and of each what is most doubtful first."""
    number, threshold = row.get("number"), row.get("threshold")
    doubt = math.inf if number is None or threshold is None else abs(number - threshold) / (abs(threshold) or 1)
    return not row.get("review"), row.get("review") or "", row["reason"] or "", doubt, row["photo_id"]


def _searched(row: Row) -> str:
    fields = ("title", "creator", "source", "date_text", "year_taken", "year_published", "photo_id")
    return " ".join(str(row[field]) for field in fields if row[field]).casefold()


def _reasons(row: Row) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason for reason in (row["reason"], row.get("review")) if reason))


def _standing(table: _Table, decisions: _Decisions) -> dict[str, Any]:
    """What every answer tells: how many there are, how many decisions the next run has to apply, and of which run."""
    counts = {view: decisions.counts[view] for view in VIEWS}
    return {"counts": counts, "pending": decisions.pending, "table": table.version}


def _changes(row: Row, decision: str | None) -> bool:
    """Whether the next run judges the photograph otherwise than the last one did."""
    return decision is not None and (decision == KEEP) != row["kept"] and row["reason"] != "unreadable"


def _card(row: Row, table: _Table, decisions: _Decisions) -> dict[str, Any]:
    year = row["year_taken"] or row["year_published"]
    decision = decisions.of_shown.get(row["photo_id"])
    return {
        "photo_id": row["photo_id"],
        "title": row["title"] or "",
        "creator": row["creator"] or "",
        "source": row["source"],
        "year": str(year) if year else row["date_text"] or "",
        "licence": row["licence"] or "",
        "kept": row["kept"],
        "by_person": row["decided_by"] == "person",
        "why": explained(row),
        "review": bool(row.get("review")),
        "decision": decision,
        "changes": _changes(row, decision),
        "size": _size(row["picture_width"], row["picture_height"]),
        "box": _shares(row),
        "number_of_copies": len(table.copies.get(row["photo_id"], [row])),
    }


def _copy(copy: Row, shown: Row, decisions: _Decisions) -> dict[str, Any]:
    is_shown = copy["photo_id"] == shown["photo_id"]
    size = ("picture_width", "picture_height") if "picture_width" in copy else ("width", "height")
    return {
        "photo_id": copy["photo_id"],
        "title": copy["title"] or "",
        "creator": copy["creator"] or "",
        "source": copy["source"],
        "licence": copy["licence"] or "",
        "page": web_link(copy["landing_url"]),
        "size": _size(*(copy[name] for name in size)),
        "decision": decisions.of_photographs.get(copy["photo_id"]),
        "shown": is_shown,
        "box": _shares(shown) if is_shown else None,
    }


def _size(width: int | None, height: int | None) -> str:
    return f"{width} × {height}" if width and height else ""


def _box(row: Row) -> Box | None:
    box = row["left"], row["top"], row["right"], row["bottom"]
    return None if None in box else box


def _shares(row: Row) -> list[float] | None:
    """The part that is learned from as shares of the picture; None where it is the whole picture."""
    box, width, height = _box(row), row["picture_width"], row["picture_height"]
    if box is None or box == (0, 0, width, height):
        return None
    return [round(edge / side, 4) for edge, side in zip(box, (width, height, width, height), strict=True)]
