"""`kwcolor takedown`: pictures leave every result, and the list that crawls keep to says so for good.

Belongs here: which pictures are meant, the order in which things go, and what models, reports, MLflow's
files and Dagster's history show of them. What the room ``photos`` holds is erased by ``photos.erasing``.

The list is written first: from then on no crawl takes them. The manifests are rewritten last: by their
rows everything else is found, so a command that was killed is finished by giving it again.
"""

import contextlib
import datetime
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import pyarrow as pa

from kwcolor_pipeline.evaluation.cluster_sheet import cluster_sheet_path
from kwcolor_pipeline.home import Home
from kwcolor_pipeline.orchestration.instance import open_instance
from kwcolor_pipeline.orchestration.shared_home import SharedHome
from kwcolor_pipeline.photos import erasing
from kwcolor_pipeline.photos.attribution import attribution_folder, stored_photographs, write_attribution
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, data_version_of, read_manifest
from kwcolor_pipeline.photos.near_duplicates import deduplicate, read_deduplicated
from kwcolor_pipeline.photos.takedown import Reference, Takedown, Takedowns, plain_url, read_reference, record
from kwcolor_pipeline.settings import Settings, SettingsProblem

#: Assets whose history shows pictures of what they hold, by the crawl that it comes from.
_SHOWING = {
    "crawled_photos": ("curated_photos", "grayscale_pairs", "pretrained_generator", "gan_model"),
    "korean_war_photos": ("evaluation_report", "colorized_gallery"),
}
_UNFINISHED = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
#: Tag of runs that `kwcolor run` executes, as in `incremental`.
_PROCESS_TAG = "kwcolor/process"
#: What manifests say where the operator gives no reason.
NO_REASON = "on request"
#: The gallery's files are named by so much of a photo_id.
_GALLERY_NAME = 24
#: Splits whose photographs previews of models show, or showed: from `valid` a photograph may come to `test`.
_PREVIEWED = {"valid", "test"}


@dataclass(frozen=True)
class Picture:
    """A picture that was stored: where it was listed, and whether it was meant or is a near-duplicate."""

    photo_id: str
    title: str
    partitions: list[str]
    is_copy: bool
    local_files: list[str]
    """Addresses of the operator's own files, which stay"""


@dataclass
class TakenDown:
    """What a takedown came to."""

    pictures: list[Picture] = field(default_factory=list)
    #: What was named and is not stored.
    unknown: list[str] = field(default_factory=list)
    #: What the operator should know, and what could not be done, in whole sentences.
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Listed:
    """A manifest's row, and the asset and partition that it belongs to."""

    asset: str
    key: str
    row: ManifestRow


def take_down(settings: Settings, names: Sequence[str], reason: str, copies: bool, history: bool = False) -> TakenDown:
    """Remove the pictures that ``names`` says (sha256, or addresses of files or pages) and never take them again.

    With ``copies`` their near-duplicates go as well, with ``history`` the Dagster runs that may show them small.
    Raises SettingsProblem, before anything is changed, where a name is none or the takedown list is damaged.
    """
    home = settings.paths
    references = [read_reference(name) for name in names]
    shared = SharedHome.of(settings)
    if shared is not None:
        shared.pull()
    listed = [_Listed(*one) for one in erasing.listed_rows(home)]
    meant = {reference: _meant(reference, listed) for reference in references}
    asked = set().union(*meant.values())
    outcome = TakenDown()
    others = _copies(settings, asked, listed, outcome) if copies else set()
    record(home, _entries(meant, others, listed, " ".join(reason.split()) or NO_REASON))
    takedowns = Takedowns.load(home)
    stored = [one for one in listed if one.row.status == Status.STORED and erasing.is_covered(one.row, takedowns)]
    victims = asked | others | {one.row.photo_id for one in stored if one.row.photo_id}
    _erase(settings, victims, stored, takedowns, history, outcome)
    if shared is not None:
        shared.push_takedown(victims)
        outcome.notes.append(
            "other machines delete the photographs when their next step begins; earlier models' previews may still "
            "show them there: delete `models` in their homes"
        )
    outcome.pictures = _pictures(stored, asked)
    there = {picture.photo_id for picture in outcome.pictures}
    outcome.unknown = [name for name, reference in zip(names, references, strict=True) if not meant[reference] & there]
    return outcome


def _meant(reference: Reference, listed: Iterable[_Listed]) -> set[str]:
    """Ids of the pictures that a reference names."""
    if reference.photo_id:
        return {reference.photo_id}
    wanted = plain_url(reference.url or "")
    return {
        one.row.photo_id
        for one in listed
        if one.row.photo_id and wanted in (plain_url(one.row.file_url), plain_url(one.row.landing_url or ""))
    }


def _copies(settings: Settings, asked: Set[str], listed: Iterable[_Listed], outcome: TakenDown) -> set[str]:
    """Near-duplicates of the pictures among those of `crawled_photos`.

    Clusters are found anew where they do not know one of the pictures: once it is gone, nothing is near it.
    """
    crawled = {one.row.photo_id for one in listed if one.asset == "crawled_photos"}
    cluster_of = _clusters(settings.paths)
    if (asked & crawled) - cluster_of.keys():
        try:
            deduplicate(settings)
        except FileNotFoundError as missing:
            outcome.notes.append(f"Near-duplicates may be left, because clusters cannot be found anew: {missing}.")
        else:
            cluster_of = _clusters(settings.paths)
    clusters = {cluster_of[photo_id] for photo_id in asked & cluster_of.keys()}
    return {photo_id for photo_id, cluster in cluster_of.items() if cluster in clusters} - asked


def _clusters(home: Home) -> dict[str, str]:
    """photo_id to cluster, as far as deduplication has seen; empty where it has not or its table is damaged."""
    try:
        return {row["photo_id"]: row["cluster_id"] for row in read_deduplicated(home)}
    except (FileNotFoundError, pa.ArrowInvalid):
        return {}


def _entries(
    meant: dict[Reference, set[str]], others: Set[str], listed: Iterable[_Listed], reason: str
) -> list[Takedown]:
    """Lines of the list: each picture with the addresses that its bytes came from and those that were given.

    Addresses of local files are left out unless they were given: another picture may come to lie there.
    """
    now = datetime.datetime.now(datetime.UTC)
    urls: dict[str, set[str]] = {photo_id: set() for photo_id in set().union(*meant.values()) | others}
    for one in listed:
        if one.row.photo_id in urls and not one.row.file_url.startswith("file:"):
            urls[one.row.photo_id].add(one.row.file_url)
    nowhere = [reference.url for reference, found in meant.items() if reference.url and not found]
    for reference, found in meant.items():
        for photo_id in found:
            urls[photo_id] |= {reference.url} if reference.url else set()
    return [
        *(Takedown(photo_id=one, urls=sorted(urls[one]), reason=reason, when=now) for one in sorted(urls)),
        *(Takedown(photo_id=None, urls=[url], reason=reason, when=now) for url in nowhere),
    ]


def _pictures(stored: Iterable[_Listed], asked: Set[str]) -> list[Picture]:
    by_id: dict[str, list[_Listed]] = {}
    for one in stored:
        if one.row.photo_id:
            by_id.setdefault(one.row.photo_id, []).append(one)
    pictures = [
        Picture(
            photo_id,
            next((one.row.title for one in found if one.row.title), "untitled"),
            sorted({f"{one.asset} {one.key}" for one in found}),
            photo_id not in asked,
            sorted({one.row.file_url for one in found if one.row.file_url.startswith("file:")}),
        )
        for photo_id, found in by_id.items()
    ]
    return sorted(pictures, key=lambda picture: (picture.is_copy, picture.title, picture.photo_id))


def _erase(
    settings: Settings,
    victims: set[str],
    stored: Sequence[_Listed],
    takedowns: Takedowns,
    history: bool,
    outcome: TakenDown,
) -> None:
    """Everything that there is of the pictures; what hinders one step is told and does not hinder the others."""
    home = settings.paths
    under_way: set[str] = set()
    changed: list[Path] = []
    steps: list[Callable[[], object]] = [
        lambda: under_way.update(_runs_under_way(settings)),
        lambda: _erase_from_history(settings, stored, under_way, outcome) if history else None,
        lambda: _erase_previews(settings, victims, outcome),
        lambda: erasing.erase_from_tables(home, victims),
        lambda: erasing.erase_from_pairs(home, victims),
        lambda: _erase_reports(home, victims),
        lambda: erasing.erase_from_store(home, victims),
        lambda: changed.extend(erasing.erase_from_manifests(home, takedowns)),
        lambda: _report_changed_years(settings, changed),
        lambda: _compact_history(home) if history and stored else None,
        lambda: _renew_attribution(home),
        lambda: None if under_way else _erase_unfinished(home),
    ]
    for step in steps:
        try:
            step()
        except SettingsProblem as problem:
            outcome.problems.append(str(problem))
        except OSError as error:
            outcome.problems.append(
                f"{error.filename or home.root} cannot be read or written ({error.strerror or error}); "
                "remedy that and give this command again."
            )
    if stored and not history and home.dagster.exists():
        outcome.notes.append(
            "the history of Dagster's runs may still show it in thumbnails of 96 pixels: "
            "give the command again with --history to delete those runs"
        )
    if under_way:
        outcome.problems.append(
            "A run is under way, and what it writes may still hold the picture; "
            "give this command again when it has ended."
        )


def _erase_unfinished(home: Home) -> None:
    """What killed processes left half written, which may be of any picture."""
    for root in (home.manifests, home.pairs, home.reports):
        for path in list(root.rglob(".*")):
            if path.suffix in (".part", ".old"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _erase_reports(home: Home, victims: Set[str]) -> None:
    """The report where it measured one of the pictures, and their gallery files with the page that shows them."""
    report = home.reports / "evaluation_report"
    if report.is_dir() and erasing.mentions(report / "metrics.json", victims):
        shutil.rmtree(report)
    for written_again in (cluster_sheet_path(home), home.manifests / "evaluation_report" / "leaks.json"):
        written_again.unlink(missing_ok=True)
    gallery = home.reports / "colorized_gallery"
    names = {photo_id[:_GALLERY_NAME] for photo_id in victims}
    for page in (gallery / "result.json", gallery / "index.html"):
        if page.exists() and erasing.mentions(page, names):
            page.unlink()
    for picture in gallery.glob("*/*.jpg"):
        if picture.stem in names:
            picture.unlink()


def _erase_previews(settings: Settings, victims: Set[str], outcome: TakenDown) -> None:
    """What shows validation and test photographs beside model weights and among MLflow's files."""
    home = settings.paths
    shown = {
        victim for victim, split in erasing.split_ledger(home).items() if victim in victims and split in _PREVIEWED
    }
    if not shown:
        return
    for folder in (home.models, home.mlflow_artifacts):
        for preview in folder.rglob("preview.webp"):
            preview.unlink()
    for metrics in home.mlflow_artifacts.rglob("metrics.json"):
        if erasing.mentions(metrics, shown):
            metrics.with_name("report.html").unlink(missing_ok=True)
            metrics.unlink()
    if settings.mlflow_tracking_uri is not None:
        outcome.problems.append(
            f"Reports and previews of earlier trainings may show it in MLflow at {settings.mlflow_tracking_uri}, which "
            "is not this home's; delete the artifacts preview.webp, report.html and metrics.json there."
        )


def _erase_from_history(settings: Settings, stored: Sequence[_Listed], under_way: Set[str], outcome: TakenDown) -> None:
    """Delete the runs whose events may show one of the pictures in a thumbnail sheet."""
    if not (stored and settings.paths.dagster.exists()):
        return
    showing = {asset for one in stored for asset in _SHOWING[one.asset]}
    filters = {(one.asset, one.key) for one in stored} | {(asset, None) for asset in showing}
    with open_instance(settings) as instance:
        runs = {run for asset, key in filters for run in _runs_of(instance, asset, key)} - under_way
        for run in sorted(runs):
            instance.delete_run(run)
        # Dagster keeps a copy of an asset's latest event, whose run may be gone.
        instance.wipe_assets([dg.AssetKey(asset) for asset in sorted(showing)])
    if runs:
        count = f"{len(runs)} of its runs" if len(runs) > 1 else "one of its runs"
        outcome.notes.append(f"Dagster's history lost {count}, which may have shown it in small pictures.")


def _report_changed_years(settings: Settings, manifests: Iterable[Path]) -> None:
    """Tell Dagster what the years hold now; this takes the place of its copy of the latest event, too."""
    if not settings.paths.dagster.exists():
        return
    with open_instance(settings) as instance:
        for path in manifests:
            rows = read_manifest(path)
            materialization = dg.AssetMaterialization(
                path.parent.name,
                partition=path.stem,
                description="Pictures were taken down.",
                metadata={"dagster/row_count": len(rows), "stored": sum(row.status == Status.STORED for row in rows)},
                tags={"dagster/data_version": data_version_of(rows)},
            )
            instance.report_runless_asset_event(materialization)


def _compact_history(home: Home) -> None:
    """Rewrite Dagster's databases without their deleted rows, whose bytes would stay in them.

    Raises SettingsProblem where another program holds one.
    """
    for database in home.dagster.rglob("*.db"):
        try:
            with contextlib.closing(sqlite3.connect(database)) as connection:
                connection.execute("VACUUM")
        except sqlite3.Error as error:
            raise SettingsProblem(
                f"{database} could not be compacted ({error}), so deleted rows may still lie in it; "
                "stop `kwcolor ui` and give this command again."
            ) from error


def _runs_under_way(settings: Settings) -> set[str]:
    """Ids of the runs that are being executed, as far as can be told."""
    if not settings.paths.dagster.exists():
        return set()
    with open_instance(settings) as instance:
        unfinished = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
        # What another machine executes cannot be seen from here.
        return {run.run_id for run in unfinished if settings.shared_store or _lives(run)}


def _lives(run: dg.DagsterRun) -> bool:
    """Whether an unfinished run is being executed, as far as can be told."""
    process = run.tags.get(_PROCESS_TAG)
    return process is None or psutil.pid_exists(int(process))


def _runs_of(instance: dg.DagsterInstance, asset: str, key: str | None) -> Iterator[str]:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[key] if key else None)
    cursor: str | None = None
    while True:
        found = instance.fetch_materializations(wanted, limit=500, cursor=cursor)
        # What an earlier takedown reported belongs to no run.
        yield from (record.run_id for record in found.records if record.run_id)
        if not found.has_more:
            return
        cursor = found.cursor


def _renew_attribution(home: Home) -> None:
    """Write the credits again where they are; delete them where nothing is left to credit."""
    folder = attribution_folder(home)
    if not folder.exists():
        return
    if stored_photographs(home):
        write_attribution(home, folder)
    else:
        shutil.rmtree(folder)
