"""The comparison of models on the test split: what is compared, the report, and the verdict with its numbers.

Belongs here: which colorizers stand side by side, when a comparison has to be made again, and its files. Measuring is
in ``evaluate``, who becomes champion in ``verdict``, the page in ``report``; the model registry is not known here.
"""

import datetime
import importlib.metadata
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kwcolor_pipeline.baselines.catalogue import available_baselines, baselines_fingerprint, open_baselines
from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.evaluation.evaluate import (
    GREY_COPY,
    TRUTH,
    Colorize,
    Evaluation,
    by_grey,
    evaluate,
    measures_version,
)
from kwcolor_pipeline.evaluation.feature_cache import FeatureCache
from kwcolor_pipeline.evaluation.hues import SECTORS, hue_shares
from kwcolor_pipeline.evaluation.leaks import find_leaks
from kwcolor_pipeline.evaluation.perceptual import open_perceptual
from kwcolor_pipeline.evaluation.report import (
    LossCurves,
    Panel,
    Provenance,
    ReportData,
    choose_photographs,
    markdown,
    paired_comparisons,
    summary,
    write_report,
)
from kwcolor_pipeline.evaluation.targets import Targets, colorized_targets, shown_targets
from kwcolor_pipeline.evaluation.verdict import Rival, Verdict, decide
from kwcolor_pipeline.home import Home, Result, atomic_folder, fingerprint, write_json
from kwcolor_pipeline.networks.bundle import Bundle, read_bundle
from kwcolor_pipeline.networks.devices import pick_device
from kwcolor_pipeline.networks.features import Picture, lite0_features
from kwcolor_pipeline.photos.pairs import read_index, read_pairs
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.starter import STARTER
from kwcolor_pipeline.training.stages import Trained, latest, pairs_version

#: Raise when a change here changes the numbers or the page.
CODE_VERSION = "4"
#: Names of the colorizers in the table.
GENERATOR = "generator alone"
GAN = "GAN model"
STARTER_NAME = "starter"
#: Our own models: their names in the table and the assets that made them.
_OURS = {GENERATOR: "pretrained_generator", GAN: "gan_model"}

_REPORT, _METRICS, _MARKDOWN, _RESULT = "report.html", "metrics.json", "report.md", "result.json"
_PACKAGES = ("kwcolor_pipeline", "torch", "torchvision", "timm", "pillow", "numpy", "scikit-image")


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
    def markdown_file(self) -> Path:
        return self.folder / _MARKDOWN

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

    @property
    def test_split(self) -> str:
        """Fingerprint of the photographs that were measured."""
        return str(self.result.summary["test_split"])


@dataclass(frozen=True)
class _Question:
    """What a comparison is asked beside what lies in the home: the models of the registry, and what leaked."""

    rival_weights: str | None
    #: Name to weights.
    others: dict[str, str]
    leaks: list[str]

    @classmethod
    def of(cls, result: Result) -> "_Question":
        return cls(*(result.summary[name] for name in ("rival_weights", "others", "leaks")))


def _asked(settings: Settings, question: _Question) -> str:
    home, starter = settings.paths, read_bundle(STARTER)
    return fingerprint(
        {
            "code": CODE_VERSION,
            "pairs": pairs_version(home),
            "generator": latest(home, "pretrained_generator").result.data_version,
            "gan": latest(home, "gan_model").result.data_version,
            "rival": question.rival_weights,
            "others": question.others,
            "leaks": question.leaks,
            "starter": [starter.weights_sha256, starter.description.get("rendering")],
            "baselines": baselines_fingerprint(settings),
            "targets": [[row.photo_id, row.title, row.licence, row.landing_url] for row in shown_targets(settings)],
            "settings": settings.evaluation.model_dump(mode="json"),
        }
    )


def report_folder(home: Home) -> Path:
    """Where the latest report lies."""
    return home.reports / "evaluation_report"


def current_comparison(settings: Settings) -> Comparison | None:
    """The latest comparison if it answers today's question; None where there is none or it is outdated.

    It is asked with the models of the registry that it had: a model that became champion by this very report has no
    other to be compared with, and that does not make the report outdated.
    """
    folder = report_folder(settings.paths)
    result = Result.read(folder / _RESULT)
    # A report of an older version does not say what it was asked.
    if result is None or "leaks" not in result.summary:
        return None
    if result.fingerprint != _asked(settings, _Question.of(result)):
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


def compare(
    settings: Settings, rival: Rival | None, version: str, others: Mapping[str, Path] | None = None
) -> Comparison:
    """Measure the generator alone, the GAN model, the rival, ``others`` and the baselines, and write the report.

    ``version`` names the new model for people; ``others`` are further models by the names they have in tables, each the
    folder of its bundle. Gives the existing report when it answers the same question: the same pairs, models and
    baselines, and the rival either the same or this model itself.
    Raises SettingsProblem when a model, a named baseline or the test split is missing.
    """
    gan = latest(settings.paths, "gan_model")
    if rival is not None and rival.weights_sha256 == gan.result.data_version:
        rival = None
    others = dict(others or {})
    leaks = find_leaks(settings)
    question = _Question(
        rival.weights_sha256 if rival else None,
        {name: read_bundle(folder).weights_sha256 for name, folder in others.items()},
        [str(leak) for leak in leaks],
    )
    done = current_comparison(settings)
    if done is not None and question in (asked := _Question.of(done.result), _without_rival(asked)):
        return done
    colorizers = _colorizers(settings, rival, others)
    hues = _Hues()
    evaluation = _measure(settings, {name: hues.listening(name, one) for name, one in colorizers.items()}, hues)
    verdict = decide(evaluation, GAN, rival, leaks, settings.evaluation)
    targets = colorized_targets(settings, GAN, lambda gray: colorizers[GAN](gray, ""))
    data = _report_data(settings, evaluation, colorizers, version, gan.bundle, verdict, rival, targets, hues)
    return _written(settings, data, question, verdict)


def _without_rival(asked: _Question) -> _Question:
    """The question once more, after the model has become champion and is no rival of itself."""
    return _Question(None, asked.others, asked.leaks)


def _written(settings: Settings, data: ReportData, question: _Question, verdict: Verdict) -> Comparison:
    folder = report_folder(settings.paths)
    evaluation = data.evaluation
    with atomic_folder(folder) as temporary:
        write_report(temporary / _REPORT, data)
        (temporary / _MARKDOWN).write_text(markdown(data), encoding="utf-8")
        table = {row.colorizer: {name: list(value) for name, value in row.metrics.items()} for row in evaluation.table}
        content = {
            "summary": summary(data),
            "version": data.provenance.model_version,
            "evaluation": evaluation.to_json(),
            "targets": {
                row.colorizer: {name: list(value) for name, value in row.metrics.items()} for row in data.target_table
            },
            "target_photographs": [panel.photo_id for panel in data.targets],
        }
        write_json(temporary / _METRICS, content)
        result = Result(
            _asked(settings, question),
            fingerprint([table, content["targets"]]),
            {
                **vars(question),
                "verdict": vars(verdict),
                "test_split": data.provenance.test_split,
                "summary": content["summary"],
                "table": table,
            },
        )
        result.write(temporary / _RESULT)
    return Comparison(folder, result, reused=False)


def _colorizers(settings: Settings, rival: Rival | None, others: Mapping[str, Path]) -> dict[str, Colorize]:
    """All that stand side by side, in the order of the table."""
    folders = {name: latest(settings.paths, stage).bundle.folder for name, stage in _OURS.items()}
    if rival is not None:
        folders[rival.name] = rival.folder
    folders[STARTER_NAME] = STARTER
    ours = {name: by_grey(open_colorizer(folder, settings.device)) for name, folder in (folders | dict(others)).items()}
    tested = [row["photo_id"] for row in read_index(settings.paths) if row["split"] == "test"]
    baselines = open_baselines(settings, tested)
    if taken := baselines.keys() & {*ours, GREY_COPY, TRUTH}:
        raise SettingsProblem(f"`{taken.pop()}` stands in every table; name that folder of results differently.")
    return {**ours, **baselines}


class _Hues:
    """Adds up the hues of every picture that colorizers give, and of the truths."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(SECTORS))

    def add(self, name: str, picture: Picture) -> Picture:
        self._sums[name] += hue_shares(picture)
        return picture

    def listening(self, name: str, colorizer: Colorize) -> Colorize:
        return lambda gray, photo_id: self.add(name, colorizer(gray, photo_id))

    def shares(self) -> dict[str, list[float]]:
        """Name to its shares of the sectors, which sum to 1 where there is any colour."""
        return {name: (sums / (sums.sum() or 1)).tolist() for name, sums in self._sums.items()}


def _measure(settings: Settings, colorizers: Mapping[str, Colorize], hues: _Hues) -> Evaluation:
    home = settings.paths
    pairs = [row for row in read_index(home) if row["split"] == "test"]
    if not pairs:
        raise SettingsProblem("There are no test pairs; collect more photographs and make the pairs again.")
    truths = (
        (p.photo_id, p.metadata.get("title") or p.photo_id[:12], p.gray, hues.add(TRUTH, p.color))
        for p in read_pairs(home, "test")
    )
    device = pick_device(settings.device)
    cache = FeatureCache(home.manifests / "evaluation_report", measures_version(device))
    perceptual, _ = open_perceptual(settings.evaluation.fid_weights, settings.evaluation.lpips_weights, str(device))
    with tqdm(total=len(pairs), desc="evaluation", unit="photo", disable=not sys.stderr.isatty()) as bar:
        return evaluate(
            truths,
            colorizers,
            lambda _: bool(bar.update()),
            features=lambda pictures: lite0_features(pictures, device),
            cache=cache,
            perceptual=perceptual,
        )


def _report_data(
    settings: Settings,
    evaluation: Evaluation,
    colorizers: Mapping[str, Colorize],
    version: str,
    bundle: Bundle,
    verdict: Verdict,
    rival: Rival | None,
    targets: Targets,
    hues: _Hues,
) -> ReportData:
    home = settings.paths
    index = read_index(home)
    selection = choose_photographs(evaluation, GAN)
    trainings = [(name, latest(home, name)) for name in ("pretrained_generator", "critic", "gan_model")]
    return ReportData(
        subject=GAN,
        evaluation=evaluation,
        selection=selection,
        panels=_panels(home, selection.ids, colorizers),
        provenance=_provenance(version, bundle, index),
        curves=[_loss_curves(name, trained) for name, trained in trainings],
        sample_pictures=all(row["source"] == "sample" for row in index),
        comparisons=paired_comparisons(evaluation, GAN),
        verdict=verdict.reason,
        champion=rival.name if rival else None,
        targets=targets.panels,
        target_table=targets.table,
        hues=hues.shares(),
        baselines_missing=[f"{one.name}: {one.missing}" for one in available_baselines(settings) if one.missing],
    )


def _panels(home: Home, photo_ids: Sequence[str], colorizers: Mapping[str, Colorize]) -> dict[str, Panel]:
    """The photographs to show, with all results."""
    panels = {}
    for pair in read_pairs(home, "test"):
        if pair.photo_id in photo_ids:
            about = pair.metadata
            results = {name: colorizer(pair.gray, pair.photo_id) for name, colorizer in colorizers.items()}
            panels[pair.photo_id] = Panel(
                photo_id=pair.photo_id,
                title=about.get("title") or "untitled",
                gray=pair.gray,
                pictures=results | {TRUTH: pair.color},
                creator=about.get("creator"),
                date_text=about.get("date_text"),
                licence=about.get("licence"),
                licence_url=about.get("licence_url"),
                landing_url=about.get("landing_url"),
            )
    return panels


def _provenance(version: str, bundle: Bundle, index: Sequence[dict[str, Any]]) -> Provenance:
    preset = bundle.description["preset"]
    return Provenance(
        preset=preset["name"],
        model_version=version,
        data_fingerprint=bundle.description["asked"]["pairs"],
        made_at=datetime.datetime.now(datetime.UTC),
        photographs=_photographs_by_year(index),
        licences=Counter(row["licence"] or "not stated" for row in index),
        weights_sha256=bundle.weights_sha256,
        test_split=_test_split(index),
        model={name: str(value) for name, value in preset.items() if name != "name"},
        packages={name: importlib.metadata.version(name) for name in _PACKAGES},
    )


def _test_split(index: Sequence[dict[str, Any]]) -> str:
    """Fingerprint of the photographs of the test split: versions are compared where it is the same."""
    return fingerprint(sorted(row["photo_id"] for row in index if row["split"] == "test"))


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
