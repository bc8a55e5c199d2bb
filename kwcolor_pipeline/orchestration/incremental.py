"""What `kwcolor run` does: crawl the years that may have changed, then compute what follows, and no more.

Dagster executes every step that a run selects. So what is up to date is left out of the run here,
by the same fingerprints that the assets themselves compare.
"""

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG

from kwcolor_pipeline.crawling.crawl import is_current as crawl_is_current
from kwcolor_pipeline.crawling.crawl import manifest_path
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.orchestration.failures import check_sentence, is_failed_check, sentence_of
from kwcolor_pipeline.orchestration.jobs import EDITION_TAG
from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS, KOREAN_WAR_YEARS
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.runs import MACHINE_TAG, PROCESS_TAG, killed_sentence, worker_of
from kwcolor_pipeline.orchestration.shared_home import SharedHome
from kwcolor_pipeline.photos.curation import curate_is_current
from kwcolor_pipeline.photos.manifest import FIRST_WEB_YEAR, FIRST_YEARS
from kwcolor_pipeline.photos.near_duplicates import deduplicate_is_current
from kwcolor_pipeline.photos.pairs import make_pairs_is_current
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.tracking.chosen_model import chosen_model
from kwcolor_pipeline.training.presets import load_preset

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
#: Jobs and partitions of the assets that have years.
_CRAWLS = {
    "crawled_photos": ("one_year", CRAWLED_YEARS),
    "korean_war_photos": ("one_korean_war_year", KOREAN_WAR_YEARS),
}
#: What an asset is made from, in the order in which data flows.
_MADE_FROM = {
    "deduplicated_photos": ("crawled_photos",),
    "curated_photos": ("deduplicated_photos",),
    "grayscale_pairs": ("curated_photos",),
    "pretrained_generator": ("grayscale_pairs",),
    "critic": ("grayscale_pairs", "pretrained_generator"),
    "gan_model": ("grayscale_pairs", "pretrained_generator", "critic"),
    "evaluation_report": ("grayscale_pairs", "pretrained_generator", "gan_model", "korean_war_photos"),
    "colorized_gallery": ("evaluation_report", "korean_war_photos"),
}
ASSET_NAMES = (*_CRAWLS, *_MADE_FROM)


@dataclass
class Outcome:
    """What a run did: materialized assets (`crawled_photos 1941`), and what went wrong in plain words."""

    materialized: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    #: Whether a run failed, so that what follows it was not computed.
    failed: bool = False
    #: Whether a problem is the operator's to solve (a setting, too few photographs) and not a failure.
    could_not_start: bool = False


@dataclass(frozen=True)
class Step:
    """One Dagster run: a job, some of its assets, and a year where the asset has them."""

    job: str
    assets: tuple[str, ...]
    partition: str | None = None

    @property
    def label(self) -> str:
        return f"{self.assets[0]} {self.partition}" if self.partition else ", ".join(self.assets)


def crawl_steps(
    settings: Settings, instance: dg.DagsterInstance, years: Sequence[str] | None, select: Sequence[str]
) -> list[Step]:
    """The years to crawl: those that a source covers or that were crawled before, less the unchanged ones.

    With ``years`` only those. Raises SettingsProblem for a year that is no partition.
    """
    steps = []
    everything = {key for _, partitions in _CRAWLS.values() for key in partitions.get_partition_keys()}
    for year in years or ():
        if year not in everything:
            numbers = [key for key in CRAWLED_YEARS.get_partition_keys() if key.isdigit()]
            raise SettingsProblem(
                f"`{year}` is not a year of this pipeline; use a year from {min(numbers)} to {max(FIRST_YEARS)} or "
                f"from {FIRST_WEB_YEAR} to {max(numbers)}, or `undated`."
            )
    for asset, (job, partitions) in _CRAWLS.items():
        if asset not in select:
            continue
        target = asset == "korean_war_photos"
        sources = open_sources(settings.korean_war_sources if target else settings.sources, settings, target=target)
        keys = partitions.get_partition_keys()
        covered = {key for source in sources for key in source.covers(keys)}
        for key in keys:
            known = key in covered or manifest_path(settings, asset, key).exists()
            if not known or (years is not None and key not in years):
                continue
            if not (_is_recorded(instance, asset, key) and crawl_is_current(settings, sources, asset, key)):
                steps.append(Step(job, (asset,), key))
    return steps


def _is_recorded(instance: dg.DagsterInstance, asset: str, partition: str | None = None) -> bool:
    """Whether Dagster's history knows the asset's last attempt as finished.

    A run that was killed may have left a result on disk that the history does not know of.
    """
    key = dg.AssetKey(asset)
    years = [partition] if partition else None
    found = instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=years), limit=1).records
    planned = instance.event_log_storage.get_latest_planned_materialization_info(key, partition)
    return bool(found) and (planned is None or planned.storage_id < found[0].storage_id)


def _passed_its_checks(instance: dg.DagsterInstance, definitions: dg.Definitions, asset: str) -> bool:
    """Whether no blocking check of the asset failed last time; a failed one has to pass before anything follows."""
    graph = definitions.resolve_asset_graph()
    for check in graph.get_check_keys_for_assets({dg.AssetKey(asset)}):
        record = instance.get_latest_asset_check_evaluation_record(check)
        if graph.get(check).blocking and record and record.status.value != "SUCCEEDED":
            return False
    return True


def following_step(
    settings: Settings,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    mlflow: MLflow,
    select: Sequence[str],
) -> Step | None:
    """One run of every selected asset that is outdated or made from one that is; None when all are current."""
    outdated: list[str] = []
    for asset, inputs in _MADE_FROM.items():
        if asset not in select:
            continue
        settled = _is_recorded(instance, asset) and _passed_its_checks(instance, definitions, asset)
        if not settled or any(name in outdated for name in inputs) or not _is_current(asset, settings, mlflow):
            outdated.append(asset)
    return Step("after_the_crawl", tuple(outdated)) if outdated else None


def _is_current(asset: str, settings: Settings, mlflow: MLflow) -> bool:
    """Whether the asset's result on disk answers what it would be asked now."""
    try:
        return _CURRENT[asset](settings, mlflow)
    except (SettingsProblem, FileNotFoundError):
        return False  # an input is missing: the asset's own run says which


def _generator_is_current(settings: Settings, _: MLflow) -> bool:
    from kwcolor_pipeline.training.pretraining import pretraining_request
    from kwcolor_pipeline.training.stages import is_latest

    return is_latest(pretraining_request(settings, load_preset(settings.preset, settings.training)))


def _critic_is_current(settings: Settings, _: MLflow) -> bool:
    from kwcolor_pipeline.training.critic_training import critic_request
    from kwcolor_pipeline.training.stages import is_latest

    return is_latest(critic_request(settings, load_preset(settings.preset, settings.training)))


def _gan_is_current(settings: Settings, mlflow: MLflow) -> bool:
    from kwcolor_pipeline.training.adversarial import adversarial_request
    from kwcolor_pipeline.training.stages import is_latest, latest

    if not is_latest(adversarial_request(settings, load_preset(settings.preset, settings.training))):
        return False
    return mlflow.open().version_of(latest(settings.paths, "gan_model").bundle.weights_sha256) is not None


def _report_is_current(settings: Settings, mlflow: MLflow) -> bool:
    from kwcolor_pipeline.evaluation.comparison import current_comparison
    from kwcolor_pipeline.tracking.mlflow_tracking import PROMOTED_TAG, WEIGHTS_TAG
    from kwcolor_pipeline.training.stages import latest

    comparison = current_comparison(settings)
    if comparison is None:
        return False
    tracking = mlflow.open()
    champion = tracking.champion()
    weights = champion.tags[WEIGHTS_TAG] if champion else None
    compared = tracking.version_of(latest(settings.paths, "gan_model").bundle.weights_sha256)
    if comparison.verdict.promote and (compared is None or PROMOTED_TAG not in compared.tags):
        return False
    return weights == comparison.rival_weights or compared == champion


def _gallery_is_current(settings: Settings, mlflow: MLflow) -> bool:
    from kwcolor_pipeline.evaluation.target_gallery import current_gallery

    return current_gallery(settings, chosen_model(mlflow.open(), settings).folder) is not None


_CURRENT: dict[str, Callable[[Settings, MLflow], bool]] = {
    "deduplicated_photos": lambda settings, _: deduplicate_is_current(settings),
    "curated_photos": lambda settings, _: curate_is_current(settings),
    "grayscale_pairs": lambda settings, _: make_pairs_is_current(settings),
    "pretrained_generator": _generator_is_current,
    "critic": _critic_is_current,
    "gan_model": _gan_is_current,
    "evaluation_report": _report_is_current,
    "colorized_gallery": _gallery_is_current,
}


def close_killed_runs(settings: Settings, instance: dg.DagsterInstance, mlflow: MLflow) -> None:
    """Mark the runs as failed whose process no longer exists, in Dagster and in MLflow."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED)):
        worker = worker_of(instance, record, shared=settings.shared_store is not None)
        # What carries this process's id was another one's: this process has not begun its runs yet.
        if worker is not None and (worker.process == os.getpid() or not worker.lives()):
            run = instance.get_run_by_id(record.dagster_run.run_id)
            if run is not None and not run.is_finished:  # it may have ended since it was listed
                instance.report_run_failed(run, killed_sentence(worker))

    def is_finished(run_id: str) -> bool:
        run = instance.get_run_by_id(run_id)
        # Runs of a shared MLflow server may belong to another home's Dagster, which alone knows.
        return run.is_finished if run else settings.mlflow_tracking_uri is None

    mlflow.open().close_abandoned_runs(is_finished)


def execute(
    definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step, outcome: Outcome, edition: str
) -> None:
    """Execute one step in this process and add what happened to ``outcome``.

    Steps of one ``edition`` share the listings that they read.
    """
    result = definitions.resolve_job_def(step.job).execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset) for asset in step.assets],
        partition_key=step.partition,
        # Failures are told below in a sentence each; their tracebacks are kept on the run's page.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={
            PROCESS_TAG: str(os.getpid()),
            MACHINE_TAG: socket.gethostname(),
            EDITION_TAG: edition,
            # Where this process is killed, the next `kwcolor run` goes on; Dagster's daemon cannot.
            MAX_RETRIES_TAG: "0",
        },
        raise_on_error=False,
    )
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        assert event.asset_key is not None  # materialization events have one
        outcome.materialized.append(" ".join(filter(None, [event.asset_key.to_user_string(), event.partition])))
        incomplete = materialization.metadata.get("problems")
        if incomplete is not None:
            outcome.problems += [f"{step.label}: {sentence}" for sentence in _sentences(incomplete.value)]
    if not result.success:
        failures = list(_failures(result))
        outcome.failed = True
        outcome.problems += [" ".join(filter(None, [name, step.partition])) + f": {text}" for name, text, _ in failures]
        outcome.could_not_start |= any(of_operator for _, _, of_operator in failures)


def _sentences(value: object) -> Iterable[str]:
    return [str(sentence) for sentence in value] if isinstance(value, list) else []


def _failures(result: dg.ExecuteInProcessResult) -> Iterable[tuple[str, str, bool]]:
    """(asset, sentence, whether the operator can solve it) for every failed step and blocking check."""
    for check in result.get_asset_check_evaluations():
        sentence = check_sentence(check)
        if sentence:
            yield check.asset_key.to_user_string(), sentence, False
    for event in result.all_events:
        if event.is_step_failure and not is_failed_check(event.step_failure_data.error):
            yield str(event.step_key), *sentence_of(event.step_failure_data.error)


def run(
    settings: Settings,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    mlflow: MLflow,
    *,
    years: Sequence[str] | None = None,
    select: Sequence[str] = ASSET_NAMES,
    announce: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Bring everything that is selected up to date; ``announce`` is told each step before it begins.

    Raises SettingsProblem for an unknown year or asset, or a source that cannot be opened.
    """
    for asset in select:
        if asset not in ASSET_NAMES:
            raise SettingsProblem(f"There is no asset `{asset}`; there are: {', '.join(ASSET_NAMES)}.")
    outcome, edition = Outcome(), str(uuid.uuid4())
    shared = SharedHome.of(settings)
    if shared is not None:
        announce("fetch what other machines made")
        shared.pull()
    close_killed_runs(settings, instance, mlflow)
    for step in crawl_steps(settings, instance, years, select):
        announce(step.label)
        execute(definitions, instance, step, outcome, edition)
    if outcome.could_not_start:
        return outcome
    following = following_step(settings, definitions, instance, mlflow, select)
    if following is not None:
        announce(following.label)
        execute(definitions, instance, following, outcome, edition)
    return outcome
