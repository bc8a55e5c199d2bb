"""MLflow: runs with their metrics and files, and the registered model's versions.

Belongs here: every call of MLflow's tracking and registry; no other room imports MLflow, and this
one does so inside functions because the import takes seconds. What is logged, and when a version
deserves to be champion, does not; what lies in a version's folder is in ``model_folder``.

Only `MlflowClient` is used and never the fluent API, whose process-wide "active run" would let
one run write into another.
"""

import contextlib
import datetime
import fcntl
import math
import os
import sqlite3
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from kwcolor_pipeline.home import atomic_folder, atomic_path, sha256_of
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.tracking.model_folder import BUNDLE, MLMODEL, bundle_in, write_model_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

#: Name of the registered model whose versions are the generators.
MODEL_NAME = "kwcolor"
#: Alias of the version that the gallery uses; it moves only when a version measures better.
CHAMPION = "champion"
#: Alias of the version that was registered last and is not champion.
CHALLENGER = "challenger"
#: Tag of a version: hash of its weights as its bundle states it; equal weights are one version.
WEIGHTS_TAG = "kwcolor.weights_sha256"
#: Tag of a version: hex sha256 of its weights file, checked when the version is used.
FILE_TAG = "kwcolor.weights_file_sha256"
#: Tag of a version: the preset that it was trained with.
PRESET_TAG = "kwcolor.preset"
#: Tag of a version: data version of the pairs that it was trained on.
DATA_TAG = "kwcolor.pairs"
#: Tag of a version that was made champion: why, in one sentence. The other tags of its promotion follow.
PROMOTED_TAG = "kwcolor.promoted"
#: The metric that decided; lower is better.
PROMOTION_METRIC_TAG = "kwcolor.promotion.metric"
#: Mean of the paired difference of that metric, new minus old, in the metric's unit.
PROMOTION_DIFFERENCE_TAG = "kwcolor.promotion.difference"
#: Ends of the 95 % interval of that difference.
PROMOTION_LOW_TAG = "kwcolor.promotion.interval_low"
PROMOTION_HIGH_TAG = "kwcolor.promotion.interval_high"
#: p-value of that difference.
PROMOTION_P_VALUE_TAG = "kwcolor.promotion.p_value"
#: What the version was compared with: the number of the former champion, or a name such as `grey copy`.
PROMOTION_AGAINST_TAG = "kwcolor.promotion.against"
#: Fingerprint of the frozen test split, and how many photographs it has.
PROMOTION_SPLIT_TAG = "kwcolor.promotion.test_split"
PROMOTION_PHOTOGRAPHS_TAG = "kwcolor.promotion.photographs"
#: Tag of a run: the Dagster run that it belongs to.
DAGSTER_RUN_TAG = "dagster.run_id"
#: The weights file of a model bundle.
WEIGHTS_FILE = "generator.safetensors"

#: Where the files of a version lie in the artifacts of its run.
_MODEL_FOLDER = "model"
# MLflow's own limits (mlflow.utils.validation): characters of a value, entries of one request.
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_DESCRIPTION_LENGTH = 5000
_BATCH = 100
#: Key of the advisory lock in a PostgreSQL database: any number that no other program takes, of 64 bits.
_POSTGRES_LOCK = 0x6B77_636F_6C6F_72

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Version:
    """One version of the registered model; ``metrics`` are the last ones of the run behind it."""

    number: int
    aliases: tuple[str, ...]
    tags: dict[str, str]
    run_id: str | None
    metrics: dict[str, float]
    created: datetime.datetime
    description: str
    source: str


@dataclass(frozen=True)
class TrackedRun:
    """An open MLflow run."""

    client: "MlflowClient"
    run_id: str
    experiment_id: str
    url: str

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record ``params`` as text; a value over MLflow's length keeps its beginning and says so."""
        from mlflow.entities import Param

        logged = [Param(name, _shortened(value, _PARAM_LENGTH)) for name, value in params.items()]
        for piece in _pieces(logged, _BATCH):
            self.client.log_batch(self.run_id, params=piece)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at ``step``.

        NaN is kept and shown as such; infinities become the largest finite number, which is how
        MLflow's database stores them.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        logged = [Metric(name, _storable(float(value)), now, step) for name, value in metrics.items()]
        for piece in _pieces(logged, _BATCH):
            self.client.log_batch(self.run_id, metrics=piece)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file into the run's artifacts, below ``folder``."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def log_dict(self, value: dict[str, Any], file: str) -> None:
        """Store ``value`` as the artifact ``file``, whose ending (.json, .yaml) gives the format."""
        self.client.log_dict(self.run_id, value, file)

    @contextlib.contextmanager
    def system_metrics(self) -> Iterator[None]:
        """Record processor, memory, disk and network every 10 seconds as `system/…`, in a thread of its own.

        Nvidia's GPUs too; AMD's where `pyrsmi` is installed.
        https://mlflow.org/docs/latest/ml/tracking/system-metrics/
        """
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(self.run_id, tracking_uri=self.client.tracking_uri)
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        from mlflow.entities import RunTag

        logged = [RunTag(name, _shortened(value, _TAG_LENGTH)) for name, value in tags.items()]
        for piece in _pieces(logged, _BATCH):
            self.client.log_batch(self.run_id, tags=piece)


class Tracking:
    """Runs of one MLflow experiment and the versions of the registered model.

    ``tracking_uri`` is a database (``sqlite:////absolute/mlflow.db``, ``postgresql://…``) or a
    server (``http://…``). ``artifact_root`` holds the artifacts of databases; a server decides
    for itself. ``ui_url`` is where people open MLflow. ``lock`` is the file that keeps processes
    of this machine from creating the same thing at once; in PostgreSQL an advisory lock of the
    database keeps those of other machines from it as well.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path, experiment: str, ui_url: str, lock: Path) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root.absolute()
        self.experiment = experiment
        self.ui_url = ui_url.rstrip("/")
        self.lock = lock

    def prepare(self) -> None:
        """Create the database and the experiment where they are missing.

        Raises SettingsProblem where the database is damaged or of another MLflow version, where
        a server cannot be reached, and where the address is none that MLflow knows.
        """
        _ = self._client, self._experiment_id

    def check_reachable(self) -> None:
        """Ask a server or a database server whether it answers; create nothing.

        Raises SettingsProblem where it does not.
        """
        _import_mlflow()
        _check_reachable(self.tracking_uri)

    @contextlib.contextmanager
    def run(self, name: str, tags: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[TrackedRun]:
        """A run that ends FINISHED, FAILED after an exception, or KILLED after an interruption."""
        short_tags = {key: _shortened(value, _TAG_LENGTH) for key, value in tags.items()}
        run_id = self._client.create_run(self._experiment_id, run_name=name, tags=short_tags).info.run_id
        run = TrackedRun(self._client, run_id, self._experiment_id, self.url_of(run_id))
        status = "FINISHED"
        try:
            run.log_params(params)
            yield run
        except BaseException as error:
            # Interruptions (Ctrl-C, Dagster's termination) are no subclasses of Exception.
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            raise
        finally:
            self._client.set_terminated(run_id, status)

    def url_of(self, run_id: str) -> str:
        """Where people see the run."""
        return f"{self.ui_url}/#/experiments/{self._experiment_id}/runs/{run_id}"

    def close_abandoned_runs(self, is_finished: Callable[[str], bool]) -> list[str]:
        """Mark runs as KILLED that are RUNNING although their Dagster run is finished; give their ids.

        A process that is killed hard cannot close its run. ``is_finished`` is asked with the
        Dagster run's id; runs that belong to no Dagster run are left alone.
        """
        abandoned = [
            run.info.run_id
            for run in self._running()
            if DAGSTER_RUN_TAG in run.data.tags and is_finished(run.data.tags[DAGSTER_RUN_TAG])
        ]
        for run_id in abandoned:
            self._client.set_terminated(run_id, "KILLED")
        return abandoned

    def register_version(self, run: TrackedRun, bundle: Path, tags: Mapping[str, Any], description: str) -> int:
        """Keep the model bundle with ``run`` and make it the newest version and `challenger`.

        What is kept is an MLflow model around the bundle, which `mlflow models serve` colorizes with; ``tags`` are
        in its metadata too. See ``model_folder``.

        ``tags`` has to hold WEIGHTS_TAG. Where a version with the same one exists its number is
        given and nothing is copied; it becomes challenger unless it is champion already. Raises
        FileNotFoundError for a folder that is no bundle.
        """
        weights = bundle / WEIGHTS_FILE
        if not weights.is_file():
            raise FileNotFoundError(f"{bundle} is not a model bundle: it has no {WEIGHTS_FILE}")
        self.prepare()
        with self._alone():
            number = self._number_of(tags[WEIGHTS_TAG])
            if number is None:
                number = self._create_version(run, bundle, {**tags, FILE_TAG: sha256_of(weights)}, description)
            if CHAMPION not in self._aliases().get(number, ()):
                self._client.set_registered_model_alias(MODEL_NAME, CHALLENGER, str(number))
        return number

    def versions(self) -> list[Version]:
        """All versions, newest first."""
        aliases = self._aliases()
        found = self._client.search_model_versions(f"name='{MODEL_NAME}'")
        described = [self._described(version, aliases) for version in found]
        return sorted(described, key=lambda version: version.number, reverse=True)

    def version_of(self, weights_sha256: str) -> Version | None:
        """The version with these weights."""
        return next((version for version in self.versions() if version.tags.get(WEIGHTS_TAG) == weights_sha256), None)

    def log_version_metrics(self, version: Version, metrics: Mapping[str, float]) -> None:
        """Record ``metrics`` with the run behind ``version``, which is what MLflow's pages compare versions by."""
        if version.run_id is None:
            raise ValueError(f"version {version.number} was registered without a run and cannot carry metrics")
        url = self.url_of(version.run_id)
        TrackedRun(self._client, version.run_id, self._experiment_id, url).log_metrics(metrics)

    def champion(self) -> Version | None:
        return next((version for version in self.versions() if CHAMPION in version.aliases), None)

    def newest(self) -> Version | None:
        return next(iter(self.versions()), None)

    def promote(self, version: Version, tags: Mapping[str, Any]) -> None:
        """Make ``version`` the champion, with ``tags`` that say why; it is no challenger any more.

        ``tags``: PROMOTED_TAG and the PROMOTION_… tags, see ``promotion_tags``. Their sentence is added to the
        description of the version, once.
        """
        number = str(version.number)
        # The alias first: a promotion that is killed in between is not taken for one that was made and undone.
        self._client.set_registered_model_alias(MODEL_NAME, CHAMPION, number)
        reason = tags.get(PROMOTED_TAG)
        if reason and str(reason) not in version.description:
            described = f"{version.description} {reason}".strip()
            self._client.update_model_version(MODEL_NAME, number, _shortened(described, _DESCRIPTION_LENGTH))
        # PROMOTED_TAG last: where it is, the promotion was told in full.
        for name in sorted(tags, key=lambda name: name == PROMOTED_TAG):
            self._client.set_model_version_tag(MODEL_NAME, number, name, _shortened(tags[name], _TAG_LENGTH))
        if CHALLENGER in self._aliases().get(version.number, ()):
            self._client.delete_registered_model_alias(MODEL_NAME, CHALLENGER)

    def download(self, version: Version, destination: Path) -> Path:
        """The folder of a version's model bundle, without the MLflow model around it.

        Artifacts on this machine are used where they lie; others are copied to ``destination``,
        once. Raises SettingsProblem where the weights are gone or not those that were registered.
        """
        local = _local_path(version.source)
        if local is None and not (destination / WEIGHTS_FILE).is_file():
            self._copy_bundle(version, destination)
        bundle = bundle_in(local) if local else destination
        problem = _bundle_problem(bundle, version)
        if problem:
            raise SettingsProblem(
                f"Model version {version.number} cannot be used: {problem}; "
                "put it back from a backup, or train and register the model again."
            )
        return bundle

    @cached_property
    def _client(self) -> "MlflowClient":
        """A client of a database that exists and has a schema, or of a server that answers."""
        self.check_reachable()
        mlflow = _import_mlflow()
        with _plain_problems(self.tracking_uri), self._alone():
            database = sqlite_path(self.tracking_uri)
            if database:
                _prepare_sqlite(database, self.artifact_root)
            # Of another database the client creates the schema where it is missing.
            client: MlflowClient = mlflow.MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)
            return client

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from creating what this one creates."""
        with exclusive(self.lock), _postgres_lock(self.tracking_uri):
            yield

    @cached_property
    def _experiment_id(self) -> str:
        client = self._client
        with _plain_problems(self.tracking_uri), self._alone():
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is None:
                return self._create_experiment(client)
        if experiment.lifecycle_stage != "active":
            raise SettingsProblem(
                f"The MLflow experiment {self.experiment} was deleted; restore it in MLflow or "
                "name another one with KWCOLOR_MLFLOW_EXPERIMENT."
            )
        files = _local_path(experiment.artifact_location)
        if sqlite_path(self.tracking_uri) and files and files.resolve() != self.artifact_root.resolve():
            raise SettingsProblem(
                f"The MLflow experiment {self.experiment} keeps its files in {files} and not in "
                f"{self.artifact_root}; put the folder back to where it was or "
                "name another experiment with KWCOLOR_MLFLOW_EXPERIMENT."
            )
        return str(experiment.experiment_id)

    def _create_experiment(self, client: "MlflowClient") -> str:
        from mlflow import MlflowException

        location = None if _is_server(self.tracking_uri) else str(self.artifact_root)
        try:
            return client.create_experiment(self.experiment, artifact_location=location)
        except MlflowException as error:
            # The lock holds on one machine; another one may have been first.
            experiment = client.get_experiment_by_name(self.experiment)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                raise
            return str(experiment.experiment_id)

    def _running(self) -> Iterable["Run"]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], "attributes.status = 'RUNNING'", max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _number_of(self, sha256: str) -> int | None:
        found = self._client.search_model_versions(f"name='{MODEL_NAME}' and tags.`{WEIGHTS_TAG}`='{sha256}'")
        return max((int(version.version) for version in found), default=None)

    def _create_version(self, run: TrackedRun, bundle: Path, tags: Mapping[str, Any], description: str) -> int:
        self._create_registered_model()
        with TemporaryDirectory(prefix="kwcolor-") as temporary:
            folder = Path(temporary) / _MODEL_FOLDER
            write_model_folder(folder, bundle, tags)
            self._client.log_artifacts(run.run_id, str(folder), _MODEL_FOLDER)
        artifacts = self._client.get_run(run.run_id).info.artifact_uri
        version = self._client.create_model_version(
            MODEL_NAME,
            f"{artifacts}/{_MODEL_FOLDER}",
            run_id=run.run_id,
            tags={name: _shortened(value, _TAG_LENGTH) for name, value in tags.items()},
            description=description,
        )
        return int(version.version)

    def _create_registered_model(self) -> None:
        from mlflow import MlflowException

        try:
            self._client.create_registered_model(MODEL_NAME)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _aliases(self) -> dict[int, tuple[str, ...]]:
        """Aliases by version number; searching for versions does not give them."""
        models = self._client.search_registered_models(f"name='{MODEL_NAME}'")
        pairs = [(int(number), alias) for model in models for alias, number in model.aliases.items()]
        return {number: tuple(sorted(alias for n, alias in pairs if n == number)) for number, _ in pairs}

    def _described(self, version: "ModelVersion", aliases: Mapping[int, tuple[str, ...]]) -> Version:
        number = int(version.version)
        return Version(
            number=number,
            aliases=aliases.get(number, ()),
            tags=dict(version.tags),
            run_id=version.run_id,
            metrics=self._metrics_of(version.run_id),
            created=datetime.datetime.fromtimestamp(version.creation_timestamp / 1000, datetime.UTC),
            description=version.description or "",
            source=version.source or "",
        )

    def _metrics_of(self, run_id: str | None) -> dict[str, float]:
        """The last metrics of a run; none of a run that was purged from the database."""
        from mlflow import MlflowException

        if not run_id:
            return {}
        try:
            return dict(self._client.get_run(run_id).data.metrics)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}

    def _copy_bundle(self, version: Version, destination: Path) -> None:
        from mlflow import MlflowException

        if not version.run_id:
            raise SettingsProblem(f"Model version {version.number} belongs to no run, so its files cannot be fetched.")
        with atomic_folder(destination) as temporary, TemporaryDirectory(dir=temporary) as fetching:
            try:
                there = {file.path for file in self._client.list_artifacts(version.run_id, _MODEL_FOLDER)}
                is_model = f"{_MODEL_FOLDER}/{MLMODEL}" in there
                path = f"{_MODEL_FOLDER}/{BUNDLE}" if is_model else _MODEL_FOLDER
                fetched = Path(self._client.download_artifacts(version.run_id, path, fetching))
            except MlflowException as error:
                raise SettingsProblem(f"Model version {version.number} cannot be fetched: {error.message}") from error
            for file in fetched.iterdir():
                file.rename(temporary / file.name)


def promotion_tags(
    reason: str,
    *,
    metric: str,
    difference: float,
    low: float,
    high: float,
    p_value: float,
    against: str,
    test_split: str,
    photographs: int,
) -> dict[str, str]:
    """The tags that record a promotion with its numbers, for :meth:`Tracking.promote`.

    ``difference`` with its 95 % interval ``low`` to ``high`` is that of ``metric``, new minus old, on the same
    ``photographs`` of the test split with the fingerprint ``test_split``; ``against`` names the former champion's
    number, or the grey copy.
    """
    return {
        PROMOTED_TAG: reason,
        PROMOTION_METRIC_TAG: metric,
        PROMOTION_DIFFERENCE_TAG: f"{difference:.6g}",
        PROMOTION_LOW_TAG: f"{low:.6g}",
        PROMOTION_HIGH_TAG: f"{high:.6g}",
        PROMOTION_P_VALUE_TAG: f"{p_value:.3g}",
        PROMOTION_AGAINST_TAG: against,
        PROMOTION_SPLIT_TAG: test_split,
        PROMOTION_PHOTOGRAPHS_TAG: str(photographs),
    }


def open_tracking(settings: Settings) -> Tracking:
    """The tracking that the settings ask for; nothing is opened before it is used."""
    return Tracking(
        tracking_uri=settings.tracking_uri,
        artifact_root=settings.paths.mlflow_artifacts,
        experiment=settings.mlflow_experiment,
        ui_url=settings.mlflow_ui_url,
        lock=settings.paths.root / "mlflow.lock",
    )


@contextlib.contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold the lock file; other processes and threads of this machine wait. A killed holder lets go.

    Raises SettingsProblem where the file cannot be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise SettingsProblem(
            f"{lock} cannot be written ({error.strerror}); choose another folder with KWCOLOR_HOME."
        ) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _postgres_lock(tracking_uri: str) -> Iterator[None]:
    """Hold an advisory lock of a PostgreSQL database, whichever machine asks; other addresses have none.

    MLflow creates its schema without one, and of several processes that find the database empty all but one
    fail. The lock belongs to the session: a killed holder lets go.
    https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
    """
    if not tracking_uri.startswith("postgresql"):
        yield
        return
    import sqlalchemy

    # Without a transaction of its own, for which changes of the schema could wait.
    engine = sqlalchemy.create_engine(tracking_uri, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _POSTGRES_LOCK})
        yield


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file of a SQLite tracking URI; None for any other URI.

    Raises SettingsProblem for a database in memory, which no second process sees, and for a path
    with `%`, `?` or `#`, which MLflow and SQLAlchemy read differently.
    """
    scheme, _, rest = tracking_uri.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    path = rest.removeprefix("/")
    if not path or path.startswith(":memory:"):
        raise SettingsProblem(f"MLflow cannot keep runs in {tracking_uri}; name a file: sqlite:////folder/mlflow.db.")
    if set(path) & set("%?#"):
        raise SettingsProblem(f"MLflow cannot open {path}; choose a folder without %, ? and # in its name.")
    return Path(path).absolute()


def database_problem(database: Path) -> str | None:
    """What is wrong with an SQLite file, as one sentence with the remedy; None where it is sound or not there yet."""
    if not database.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        return f"The database {database} cannot be opened ({error}); see who may read it and whether it is in use."
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict == "ok":
        return None
    return (
        f"The database {database} is damaged ({verdict}); move it away and a new one is made, "
        "but what was recorded in it is lost."
    )


def _bundle_problem(bundle: Path, version: Version) -> str | None:
    weights = bundle / WEIGHTS_FILE
    if not weights.is_file():
        return f"{weights} is missing"
    if sha256_of(weights) != version.tags.get(FILE_TAG):
        return f"{weights} is not the file that was registered"
    return None


def _prepare_sqlite(database: Path, artifact_root: Path) -> None:
    """Create the schema in a new file that then appears at once, so that a killed start leaves none behind."""
    problem = database_problem(database)
    if problem:
        raise SettingsProblem(problem)
    if database.exists() and database.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for left_by_killed_start in database.parent.glob(f".{database.name}.*.part*"):
        left_by_killed_start.unlink()
    with atomic_path(database) as temporary:
        SqlAlchemyStore(f"sqlite:///{temporary}", str(artifact_root)).engine.dispose()


def _import_mlflow() -> Any:
    """Import MLflow with its telemetry, progress bars and chatter off, which it decides while it is imported."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    import mlflow

    return mlflow


def _is_server(tracking_uri: str) -> bool:
    return tracking_uri.startswith(("http://", "https://"))


def _check_reachable(tracking_uri: str) -> None:
    """Ask once; MLflow itself would try for minutes before it gives up."""
    if sqlite_path(tracking_uri):
        return
    if _is_server(tracking_uri):
        import requests

        try:
            requests.get(f"{tracking_uri.rstrip('/')}/health", timeout=10)
        except requests.RequestException as error:
            raise _unusable(tracking_uri, error) from error
        return
    import sqlalchemy

    with _plain_problems(tracking_uri):
        engine = sqlalchemy.create_engine(tracking_uri)
        engine.connect().close()
        engine.dispose()


@contextlib.contextmanager
def _plain_problems(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow and its database raise while they are opened into a SettingsProblem."""
    from mlflow import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError) as error:
        raise _unusable(tracking_uri, error) from error


def _unusable(tracking_uri: str, error: Exception) -> SettingsProblem:
    shown = _without_password(tracking_uri)
    reason = str(error).replace(tracking_uri, shown).splitlines()[0]
    return SettingsProblem(
        f"MLflow cannot be used at {shown} ({reason}); start it, or correct or unset KWCOLOR_MLFLOW_TRACKING_URI."
    )


def _without_password(uri: str) -> str:
    parts = urllib.parse.urlsplit(uri)
    if not parts.password:
        return uri
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")).geturl()


def _local_path(uri: str) -> Path | None:
    """The path of a local artifact URI (`/folder` or `file:///folder`); None for a remote one."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path))
    return None if parts.scheme else Path(uri)


def _storable(value: float) -> float:
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def _shortened(value: Any, length: int) -> str:
    text = str(value)
    note = f"… ({len(text)} characters in all)"
    return text if len(text) <= length else text[: length - len(note)] + note


def _pieces(items: list[_Item], size: int) -> Iterator[list[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
