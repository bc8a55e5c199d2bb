"""The comparison of models on the test split, its files, and who deserves to be champion.

Belongs here: what is compared with what and the verdict. Measuring one photograph is in
``metrics``, the page in ``report``; the model registry is not known here.
"""

import datetime
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kwcolor_pipeline.colorize.engine import Colorizer, open_colorizer
from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH, Evaluation, evaluate
from kwcolor_pipeline.evaluation.metrics import Interval
from kwcolor_pipeline.evaluation.report import (
    LossCurves,
    Panel,
    Provenance,
    ReportData,
    choose_photographs,
    summary,
    write_report,
)
from kwcolor_pipeline.home import Home, Result, atomic_folder, fingerprint, write_json
from kwcolor_pipeline.networks.bundle import Bundle
from kwcolor_pipeline.photos.pairs import read_index, read_pairs
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.stages import Trained, latest, pairs_version

#: Raise when a change here changes the numbers or the page.
CODE_VERSION = "1"
#: Names of the colorizers in the table.
GENERATOR = "generator alone"
GAN = "GAN model"
#: The metric that decides about the champion; lower is better.
DECIDING_METRIC = "ciede2000"

_REPORT, _METRICS, _RESULT = "report.html", "metrics.json", "result.json"


@dataclass(frozen=True)
class Rival:
    """The champion that the new model has to beat."""

    number: int
    weights_sha256: str
    folder: Path

    @property
    def name(self) -> str:
        return f"champion, version {self.number}"


@dataclass(frozen=True)
class Verdict:
    """Whether the new model becomes champion, and why in one sentence."""

    promote: bool
    beats_grey: bool
    reason: str


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: where its files are, and what it found."""

    folder: Path
    result: Result
    reused: bool

    @property
    def report(self) -> Path:
        return self.folder / _REPORT

    @property
    def metrics_file(self) -> Path:
        return self.folder / _METRICS

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation.from_json(json.loads(self.metrics_file.read_text())["evaluation"])

    @property
    def rival_weights(self) -> str | None:
        """Weights of the champion that the new model was compared with; None where there was none."""
        weights: str | None = self.result.summary["rival_weights"]
        return weights

    @property
    def verdict(self) -> Verdict:
        return Verdict(**self.result.summary["verdict"])


def decide(evaluation: Evaluation, rival: Rival | None) -> Verdict:
    """The new model against the grey copy and against the champion, on the same photographs.

    The first model becomes champion unless it is worse than the grey copy. Later ones have to be
    better than the champion with the whole 95 % interval of the paired difference.
    """
    against_grey = evaluation.difference(DECIDING_METRIC, GAN, GREY_COPY)
    beats_grey = against_grey.value < 0
    if not beats_grey:
        return Verdict(False, False, f"It is worse than the grey copy ({_text(against_grey)}), so it is not promoted.")
    if rival is None:
        return Verdict(True, True, f"It is the first champion: better than the grey copy ({_text(against_grey)}).")
    difference = evaluation.difference(DECIDING_METRIC, GAN, rival.name)
    if difference.high < 0:
        return Verdict(True, True, f"It replaces version {rival.number}: better by {_text(difference)}.")
    return Verdict(
        False, True, f"Version {rival.number} stays champion: the new one is not surely better ({_text(difference)})."
    )


def _text(difference: Interval) -> str:
    return f"{difference.value:+.2f} CIEDE2000, 95 % interval {difference.low:+.2f} to {difference.high:+.2f}"


def _asked(settings: Settings, rival_weights: str | None) -> str:
    home = settings.paths
    return fingerprint(
        {
            "code": CODE_VERSION,
            "pairs": pairs_version(home),
            "generator": latest(home, "pretrained_generator").result.data_version,
            "gan": latest(home, "gan_model").result.data_version,
            "rival": rival_weights,
        }
    )


def report_folder(home: Home) -> Path:
    """Where the latest report lies."""
    return home.reports / "evaluation_report"


def current_comparison(settings: Settings) -> Comparison | None:
    """The latest comparison if it answers today's question; None where there is none or it is outdated.

    It is asked with the rival that it had: a model that became champion by this very report has no
    other to be compared with, and that does not make the report outdated.
    """
    folder = report_folder(settings.paths)
    result = Result.read(folder / _RESULT)
    if result is None or result.fingerprint != _asked(settings, result.summary["rival_weights"]):
        return None
    return Comparison(folder, result, reused=True)


def latest_comparison(settings: Settings) -> Comparison:
    """The comparison on disk, outdated or not.

    Raises SettingsProblem when there is none.
    """
    folder = report_folder(settings.paths)
    result = Result.read(folder / _RESULT)
    if result is None:
        raise SettingsProblem("There is no report yet; run `kwcolor run --select evaluation_report` first.")
    return Comparison(folder, result, reused=True)


def compare(settings: Settings, rival: Rival | None, version: str) -> Comparison:
    """Measure the generator alone, the GAN model and the rival on the test split, and write the report.

    ``version`` names the new model for people. Gives the existing report when it answers the same
    question: the same pairs and models, and the rival either the same or this model itself.
    Raises SettingsProblem when a model or the test split is missing.
    """
    gan = latest(settings.paths, "gan_model")
    if rival is not None and rival.weights_sha256 == gan.result.data_version:
        rival = None
    done = current_comparison(settings)
    if done is not None and (rival is None or rival.weights_sha256 == done.result.summary["rival_weights"]):
        return done
    generator = latest(settings.paths, "pretrained_generator")
    colorizers = {
        GENERATOR: open_colorizer(generator.bundle.folder, settings.device),
        GAN: open_colorizer(gan.bundle.folder, settings.device),
    }
    if rival is not None:
        colorizers[rival.name] = open_colorizer(rival.folder, settings.device)
    evaluation = _measure(settings.paths, colorizers)
    verdict = decide(evaluation, rival)
    data = _report_data(settings, evaluation, colorizers, version, gan.bundle)
    folder = report_folder(settings.paths)
    with atomic_folder(folder) as temporary:
        write_report(temporary / _REPORT, data)
        table = {row.colorizer: {name: list(value) for name, value in row.metrics.items()} for row in evaluation.table}
        content = {"summary": summary(data), "version": version, "evaluation": evaluation.to_json()}
        write_json(temporary / _METRICS, content)
        rival_weights = rival.weights_sha256 if rival else None
        result = Result(
            _asked(settings, rival_weights),
            fingerprint(table),
            {"rival_weights": rival_weights, "verdict": vars(verdict), "summary": content["summary"], "table": table},
        )
        result.write(temporary / _RESULT)
    return Comparison(folder, result, reused=False)


def _measure(home: Home, colorizers: dict[str, Colorizer]) -> Evaluation:
    pairs = [row for row in read_index(home) if row["split"] == "test"]
    if not pairs:
        raise SettingsProblem("There are no test pairs; collect more photographs and make the pairs again.")
    truths = (
        (p.photo_id, p.metadata.get("title") or p.photo_id[:12], p.gray, p.color) for p in read_pairs(home, "test")
    )
    with tqdm(total=len(pairs), desc="evaluation", unit="photo", disable=not sys.stderr.isatty()) as bar:
        return evaluate(truths, colorizers, lambda _: bool(bar.update()))


def _report_data(
    settings: Settings, evaluation: Evaluation, colorizers: dict[str, Colorizer], version: str, bundle: Bundle
) -> ReportData:
    home = settings.paths
    selection = choose_photographs(evaluation, GAN)
    panels = {}
    for pair in read_pairs(home, "test"):
        if pair.photo_id in selection.ids:
            about = pair.metadata
            panels[pair.photo_id] = Panel(
                photo_id=pair.photo_id,
                title=about.get("title") or "untitled",
                gray=pair.gray,
                pictures={name: colorizer(pair.gray) for name, colorizer in colorizers.items()} | {TRUTH: pair.color},
                creator=about.get("creator"),
                date_text=about.get("date_text"),
                licence=about.get("licence"),
                licence_url=about.get("licence_url"),
                landing_url=about.get("landing_url"),
            )
    index = read_index(home)
    trainings = [(name, latest(home, name)) for name in ("pretrained_generator", "critic", "gan_model")]
    return ReportData(
        subject=GAN,
        evaluation=evaluation,
        selection=selection,
        panels=panels,
        provenance=Provenance(
            preset=bundle.description["preset"]["name"],
            model_version=version,
            data_fingerprint=bundle.description["asked"]["pairs"],
            made_at=datetime.datetime.now(datetime.UTC),
            photographs=_photographs_by_year(index),
            licences=Counter(row["licence"] or "not stated" for row in index),
        ),
        curves=[_loss_curves(name, trained) for name, trained in trainings],
        sample_pictures=all(row["source"] == "sample" for row in index),
    )


def _photographs_by_year(index: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"train": 0, "valid": 0, "test": 0})
    for row in index:
        counts[row["partition"]][row["split"]] += 1
    return dict(sorted(counts.items()))


def _loss_curves(name: str, trained: Trained) -> LossCurves:
    shown = {"train_loss": "training loss", "score": "validation score", "accuracy": "accuracy"}
    series = {
        text: [(record["epoch"], record[key]) for record in trained.history]
        for key, text in shown.items()
        if key in trained.history[0]
    }
    return LossCurves(name.replace("_", " "), series, x_label="epoch")
