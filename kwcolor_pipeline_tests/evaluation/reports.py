"""What the tests of the report are about: evaluations with chosen figures, and drawn photographs."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH, Evaluation, PhotographRow, TableRow
from kwcolor_pipeline.evaluation.hues import hue_shares
from kwcolor_pipeline.evaluation.intervals import mean_with_interval
from kwcolor_pipeline.evaluation.metrics import IDENTICAL_PSNR, PhotographMetrics
from kwcolor_pipeline.evaluation.report import (
    LossCurves,
    Panel,
    Provenance,
    ReportData,
    choose_photographs,
    paired_comparisons,
)
from kwcolor_pipeline.evaluation.stability import TargetMetrics
from kwcolor_pipeline.networks.features import Picture
from kwcolor_pipeline_tests.photos.pictures import scene

SUBJECT = "GAN model"
#: Colorizer to how much of the truth's colour it loses.
LOST = {"generator alone": 0.5, SUBJECT: 0.3, "champion, version 3": 0.35, "DeOldify artistic": 0.6}


def measured(differences: Mapping[str, Sequence[float]]) -> Evaluation:
    """An evaluation with these CIEDE2000 of each colorizer's photographs, floor first; the truth is added."""
    count = len(differences[GREY_COPY])
    everything = {**differences, TRUTH: [0.0] * count}
    rows = [
        PhotographRow(f"{index:064x}", f"Photograph {index}", name, _metrics(value, name == TRUTH))
        for name, values in everything.items()
        for index, value in enumerate(values)
    ]
    table = []
    for name in everything:
        own = [row.metrics for row in rows if row.colorizer == name]
        metrics = {
            field: mean_with_interval([getattr(row, field) for row in own], 0) for field in PhotographMetrics._fields
        }
        metrics["colourfulness_distance"] = mean_with_interval([abs(30 - row.colourfulness) for row in own], 0)
        metrics["frechet_lite0"] = mean_with_interval([4 * row.ciede2000 for row in own], 0)
        table.append(TableRow(name, metrics))
    return Evaluation(rows, table, seed=0)


def _metrics(difference: float, identical: bool) -> PhotographMetrics:
    return PhotographMetrics(
        psnr=IDENTICAL_PSNR if identical else 30 - difference / 2,
        ssim=1 - difference / 500,
        ciede2000=difference,
        ciede2000_p95=2.5 * difference,
        colourfulness=max(0.0, 30 - 2 * difference),
        uniformity=0.5 + difference / 50,
        lite0_distance=difference / 100,
    )


def with_metric(evaluation: Evaluation, name: str, values: Mapping[str, float]) -> Evaluation:
    """The evaluation with one more metric of the whole set, for the colorizers named."""
    table = [
        TableRow(row.colorizer, row.metrics | {name: mean_with_interval([values[row.colorizer]], 0)})
        if row.colorizer in values
        else row
        for row in evaluation.table
    ]
    return dataclasses.replace(evaluation, table=table)


def grey_of(picture: Picture) -> Picture:
    grey: Picture = picture.mean(axis=2).round().astype(np.uint8)
    return grey


def paler(picture: Picture, lost: float) -> Picture:
    """The picture with a part of its colour lost."""
    result: Picture = (lost * grey_of(picture)[:, :, None] + (1 - lost) * picture).round().astype(np.uint8)
    return result


def _drawn(seed: int, size: tuple[int, int], grain: float) -> Picture:
    """A scene with ``grain`` levels of noise, equal in all channels: the more, the larger its file."""
    noise = np.random.default_rng(seed).normal(0, grain, (size[1], size[0], 1))
    picture: Picture = (np.asarray(scene(seed, size)) + noise).clip(0, 255).astype(np.uint8)
    return picture


def drawn_report(count: int, size: tuple[int, int] = (96, 72), grain: float = 0, **changes: Any) -> ReportData:
    """A report of ``count`` drawn photographs of which every colorizer loses some colour, with all that it can hold."""
    random = np.random.default_rng(0)
    base = random.gamma(6, 1.6, count)
    evaluation = measured(
        {GREY_COPY: base.tolist()}
        | {name: (base * lost + random.normal(0, 0.2, count)).clip(0.1).tolist() for name, lost in LOST.items()}
    )
    selection = choose_photographs(evaluation, SUBJECT)
    truths = {photo_id: _drawn(int(photo_id, 16), size, grain) for photo_id in selection.ids}
    panels = {
        photo_id: Panel(
            photo_id,
            f"Photograph {int(photo_id, 16)}, which has a title as long as archives give it, with place and persons",
            grey_of(truth),
            {name: paler(truth, lost) for name, lost in LOST.items()} | {TRUTH: truth},
            creator="A photographer",
            date_text="May 1942",
            licence="Public domain",
            licence_url="https://example.org/licence",
            landing_url=f"https://example.org/{int(photo_id, 16)}",
        )
        for photo_id, truth in truths.items()
    }
    targets = [
        Panel(
            f"target{index}",
            f"Target {index}",
            grey_of(picture),
            {name: paler(picture, lost) for name, lost in LOST.items()},
            date_text="1951",
            measures={name: TargetMetrics(21.34, 0.718, 0.417, 0.25)._asdict() for name in LOST},
        )
        for index in range(3)
        for picture in [_drawn(1000 + index, size[::-1], grain)]
    ]
    hues = {
        name: np.mean([hue_shares(paler(truth, lost)) for truth in truths.values()], axis=0)
        for name, lost in {**LOST, TRUTH: 0.0}.items()
    }
    data = ReportData(
        subject=SUBJECT,
        evaluation=evaluation,
        selection=selection,
        panels=panels,
        provenance=Provenance(
            preset="demo",
            model_version="version 4",
            data_fingerprint="abc123",
            made_at=datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC),
            photographs={"1942": {"train": 70, "test": 9}, "undated": {"train": 3}},
            licences={"Public domain": 81, "": 1},
            weights_sha256="d1" * 32,
            test_split="5b" * 32,
            model={"encoder": "resnet34", "loss": "L1"},
            packages={"torch": "2.14.0"},
        ),
        curves=[LossCurves("Critic", {"loss": [(0, 1.0), (1, float("nan")), (2, 0.5)]})],
        comparisons=paired_comparisons(evaluation, SUBJECT),
        verdict="It replaces version 3: better by -0.40 CIEDE2000.",
        champion="champion, version 3",
        targets=targets,
        target_table=[
            TableRow(name, {key: mean_with_interval([1.0, 2.0], 0) for key in TargetMetrics._fields}) for name in LOST
        ],
        hues={name: shares.tolist() for name, shares in hues.items()},
        baselines_missing=["DDColor was not compared: name its file in `baselines.ddcolor`."],
    )
    return dataclasses.replace(data, **changes)
