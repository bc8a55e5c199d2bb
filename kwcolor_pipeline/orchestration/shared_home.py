"""The home of a machine that shares its results with others, through the store of `KWCOLOR_SHARED_STORE`.

Belongs here: which files each asset needs and makes, and fetching and putting them around its step. How files
travel whole is in `shared_store`. Without that setting nothing happens here.

A home is then a working folder: what counts lies in the store, and a home can be deleted between runs at the
cost of fetching again. Checkpoints, decoded caches and a crawl's memory of its requests stay in the home.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwcolor_pipeline.home import Home, Result
from kwcolor_pipeline.photos.attribution import CRAWLS
from kwcolor_pipeline.photos.erasing import erase_from_store
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, read_manifest
from kwcolor_pipeline.photos.store import EXTENSION_OF_MIME, PhotoStore
from kwcolor_pipeline.photos.takedown import Takedown, Takedowns, record, takedown_lines
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.shared_store import SharedStore, Unit
from kwcolor_pipeline.training.trained_pairs import TRAINED_PAIRS

_TABLES = ("deduplicated_photos", "curated_photos", "evaluation_report")
_MODELS = ("pretrained_generator", "critic", "gan_model")
_REPORTS = ("deduplicated_photos", "evaluation_report", "colorized_gallery")
_TAKEDOWNS = "takedowns"


@dataclass(frozen=True)
class _Step:
    """What a step of an asset needs besides the manifests and tables, which every step gets, and what it makes."""

    photographs: tuple[str, ...] = ()
    """Crawls whose pictures it reads"""
    pairs: bool = False
    models: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    """Names of the units that it writes; a crawl's is that of its year"""


_STEPS = {
    "crawled_photos": _Step(),
    "korean_war_photos": _Step(),
    "deduplicated_photos": _Step(
        photographs=("crawled_photos",),
        makes=("manifests/deduplicated_photos", "reports/deduplicated_photos"),
    ),
    "curated_photos": _Step(photographs=("crawled_photos",), makes=("manifests/curated_photos",)),
    # How much the pairs changed is told against those that the generator learned from.
    "grayscale_pairs": _Step(
        photographs=("crawled_photos",), pairs=True, models=("pretrained_generator",), makes=("pairs",)
    ),
    "pretrained_generator": _Step(pairs=True, makes=("models/pretrained_generator",)),
    "critic": _Step(pairs=True, models=("pretrained_generator",), makes=("models/critic",)),
    "gan_model": _Step(pairs=True, models=("pretrained_generator", "critic"), makes=("models/gan_model",)),
    "evaluation_report": _Step(
        photographs=("korean_war_photos",),
        pairs=True,
        models=_MODELS,
        makes=("manifests/evaluation_report", "reports/evaluation_report"),
    ),
    "colorized_gallery": _Step(
        photographs=("korean_war_photos",), reports=("evaluation_report",), makes=("reports/colorized_gallery",)
    ),
}


class SharedHome:
    """A home and the store whose results it takes part in."""

    def __init__(self, home: Home, url: str) -> None:
        self._home = home
        self._store = SharedStore(url, home.locks)

    @classmethod
    def of(cls, settings: Settings) -> "SharedHome | None":
        """The shared home that the settings ask for; None where they name no store."""
        return cls(settings.paths, settings.shared_store) if settings.shared_store else None

    def around_step(self, asset: str, partition: str | None, step: Callable[[], Any]) -> Any:
        """What ``step`` returns: what it needs is here before, and what it made is in the store afterwards."""
        with self._store.writing(self._made_by(asset, partition)):
            self.pull_takedowns()
            there = [self._store.pull(unit, held=True) for unit in self._made_by(asset, partition)]
            own = self._pictures_of(asset, partition) if partition else {}
            self._pull_inputs(asset, partition)
            self._store.pull_photographs(own if all(there) else {})
            result = step()
            if partition:
                shared = own if all(there) else {}
                pictures = self._pictures_of(asset, partition)
                self._store.push_photographs({path: name for path, name in pictures.items() if path not in shared})
            for unit in self._made_by(asset, partition):
                self._store.push(unit)
        return result

    def around_check(self, asset: str, check: Callable[[], Any]) -> Any:
        """The same for a check of the asset: it reads what the asset made, and may keep what it found beside it."""
        with self._store.writing(self._made_by(asset)):
            for unit in self._made_by(asset):
                self._store.pull(unit, held=True)
            for unit in self._inputs_of(asset):
                self._store.pull(unit)
            result = check()
            for unit in self._made_by(asset):
                self._store.push(unit)
        return result

    def pull(self) -> None:
        """Fetch everything that the store has, as `kwcolor run` needs it to tell what is up to date."""
        self.pull_takedowns()
        for unit in self._all_units():
            self._store.pull(unit)
        for crawl in CRAWLS:
            self._store.pull_photographs(self._pictures_of(crawl))

    def push(self) -> None:
        """Put everything into the store that this home has and the store has not, or has otherwise."""
        self.push_takedowns()
        there = self._store.names_below("photos")
        for crawl in CRAWLS:
            pictures = self._pictures_of(crawl)
            self._store.push_photographs({path: name for path, name in pictures.items() if name not in there})
        for unit in self._all_units():
            if unit.local_files():
                with self._store.writing([unit]):
                    self._store.push(unit)

    def push_takedown(self, photo_ids: Iterable[str]) -> None:
        """Tell the store what was taken down here, and delete from it at once what this home no longer has.

        The home has to be as the store was (:meth:`pull`) before it was erased from.
        """
        self.push_takedowns()
        names = [PhotoStore.name(photo_id, ending) for photo_id in photo_ids for ending in EXTENSION_OF_MIME.values()]
        self._store.delete(f"photos/{name}" for name in names)
        for unit in self._all_units():
            with self._store.writing([unit]):
                self._store.push(unit, purge=True)

    def pull_takedowns(self) -> None:
        """Take over what was taken down on other machines, and delete such pictures here."""
        known = {_name_of(line) for line in takedown_lines(self._home)}
        stored = self._store.read_all(_TAKEDOWNS)
        new = [Takedown.model_validate_json(line) for name, line in sorted(stored.items()) if name not in known]
        if new:
            record(self._home, new)
            erase_from_store(self._home, {entry.photo_id for entry in new if entry.photo_id})

    def push_takedowns(self) -> None:
        """Tell the other machines what was taken down here."""
        stored = self._store.read_all(_TAKEDOWNS)
        for line in takedown_lines(self._home):
            if _name_of(line) not in stored:
                self._store.write(f"{_TAKEDOWNS}/{_name_of(line)}", line)

    def _made_by(self, asset: str, partition: str | None = None) -> list[Unit]:
        """The units that a step of the asset writes, as their files are now."""
        return [self._year(asset, partition)] if partition else [self._unit(name) for name in _STEPS[asset].makes]

    def _inputs_of(self, asset: str) -> list[Unit]:
        needs = _STEPS[asset]
        names = ["pairs"] if needs.pairs else []
        names += [f"models/{stage}" for stage in needs.models] + [f"reports/{asset}" for asset in needs.reports]
        return [self._unit(name) for name in names if name not in needs.makes]

    def _pull_inputs(self, asset: str, partition: str | None) -> None:
        made = {unit.name for unit in self._made_by(asset, partition)}
        for unit in [*self._tables(), *self._inputs_of(asset)]:
            if unit.name not in made:
                self._store.pull(unit)
        for crawl in _STEPS[asset].photographs:
            self._store.pull_photographs(self._pictures_of(crawl))

    def _all_units(self) -> list[Unit]:
        others = ["pairs", *(f"models/{stage}" for stage in _MODELS), *(f"reports/{asset}" for asset in _REPORTS)]
        return [*self._tables(), *map(self._unit, others)]

    def _tables(self) -> list[Unit]:
        """Manifests of the years that are here or in the store, and the tables of the assets after them."""
        units = []
        for asset in CRAWLS:
            years = set(self._store.unit_names(f"manifests/{asset}"))
            years |= {path.stem for path in (self._home.manifests / asset).glob("*.parquet")}
            units += [self._year(asset, year) for year in sorted(years)]
        return units + [self._unit(f"manifests/{asset}") for asset in _TABLES]

    def _year(self, asset: str, key: str) -> Unit:
        return Unit(f"manifests/{asset}/{key}", self._home.manifests / asset, (f"{key}.parquet", f"{key}.json"))

    def _unit(self, name: str) -> Unit:
        room, folder = name.partition("/")[0], self._home.root / name
        if room == "pairs":
            return Unit(name, folder, ("*.json", "*.parquet", "*/*.tar"))
        if room == "models":
            # The latest bundle alone; others stay where they were made, and registered ones are in MLflow.
            latest = Result.read(folder / "result.json")
            bundle = (f"{latest.summary['folder']}/*",) if latest else ()
            return Unit(name, folder, ("result.json", TRAINED_PAIRS, *bundle), mirrored=False)
        return Unit(name, folder, ("**/*",))

    def _pictures_of(self, crawl: str, key: str | None = None) -> dict[Path, str]:
        """Local file to name in the store of the pictures that a crawl has stored, of one year or of all."""
        store, pictures = PhotoStore(self._home.photos), {}
        takedowns = Takedowns.load(self._home)
        for row in self._rows(crawl, key):
            if row.status == Status.STORED and row.photo_id and not takedowns.covers(row.photo_id):
                ending = EXTENSION_OF_MIME[row.mime or ""]
                pictures[store.path(row.photo_id, ending)] = f"photos/{store.name(row.photo_id, ending)}"
        return pictures

    def _rows(self, crawl: str, key: str | None) -> Iterator[ManifestRow]:
        for path in sorted((self._home.manifests / crawl).glob(f"{key or '*'}.parquet")):
            yield from read_manifest(path)


def _name_of(line: bytes) -> str:
    return f"{hashlib.sha256(line).hexdigest()}.json"


def shares_home(asset: str, *, check: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate the function of ``asset``, or with ``check`` one of its checks: where a store is shared, it works on
    the store's files and leaves its own there. The function has to take the settings as ``settings``.
    """

    def decorate(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def run(*arguments: Any, **named: Any) -> Any:
            given = inspect.signature(step).bind(*arguments, **named).arguments
            shared = SharedHome.of(given["settings"])
            if shared is None:
                return step(*arguments, **named)
            if check:
                return shared.around_check(asset, lambda: step(*arguments, **named))
            context = given["context"]
            partition = context.partition_key if context.has_partition_key else None
            return shared.around_step(asset, partition, lambda: step(*arguments, **named))

        return run

    return decorate
