"""How good are the starter's colours, over those of the grey copy, of other models and of every baseline at hand?

Belongs here: the named test sets, the table and the promises. How a metric is computed is the package's affair, which
photographs no stage of the starter saw is that of starter_training.

Give --photos, the folder with `fsac_1939_1944/` (Kodachromes), `natural_colour/` and `korean_war_1950_1953/`: crawled,
deduplicated and split as for the starter, so that only clusters are measured that it never saw. Without it the
embedded photographs are measured, which are few. Pictures are seen at a shortest side of 128 pixels. The Korean War's
have no truth: of them colourfulness is measured, and how much of the colour is of one hue.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from homes import home_with_pairs
from PIL import Image
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.baselines.catalogue import open_baselines
from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.colour.measures import colourfulness, lab_of, uniformity_of_lab
from kwcolor_pipeline.evaluation.evaluate import (
    FRECHET,
    GREY_COPY,
    TRUTH,
    Colorize,
    Evaluation,
    Grey,
    by_grey,
    evaluate,
)
from kwcolor_pipeline.evaluation.intervals import Interval, mean_with_interval
from kwcolor_pipeline.networks.features import Picture
from kwcolor_pipeline.photos.borders import open_trimmed
from kwcolor_pipeline.photos.curation import looks_coloured
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline.photos.pairs import read_index, read_pairs
from kwcolor_pipeline.settings import Settings, load_settings
from kwcolor_pipeline.starter import STARTER
from kwcolor_pipeline.tracking.chosen_model import chosen_model
from kwcolor_pipeline.tracking.mlflow_tracking import open_tracking

_PACKAGES = ("kwcolor_pipeline", "torch", "timm", "numpy")
#: Shortest side at which everything is seen and measured.
_SIDE = 128
_NAME = "starter"
_DELTA_E76 = "delta_e76"
_SHOWN = ("psnr", _DELTA_E76, "ciede2000", "colourfulness", "uniformity", FRECHET)
#: Photographs of a set with --quick.
_QUICK = 24

_Truth = tuple[str, str, Grey, Picture]
_Table = dict[str, dict[str, Interval]]


def _seen(picture: Image.Image) -> Picture:
    scale = _SIDE / min(picture.size)
    size = [max(_SIDE, round(side * scale)) for side in picture.size]
    return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))


def _truth(photo_id: str, title: str, picture: Image.Image) -> _Truth:
    colour = _seen(picture)
    return photo_id, title, decolorize(colour, "lightness"), colour


def test_sets(settings: Settings, of: Callable[[dict[str, Any]], str], most: int | None) -> dict[str, list[_Truth]]:
    """The test split by the name that ``of`` gives a row of the pairs' index; ``most`` photographs of each."""
    rows = {row["photo_id"]: row for row in read_index(settings.paths)}
    sets: dict[str, list[_Truth]] = defaultdict(list)
    for pair in read_pairs(settings.paths, "test"):
        row = rows[pair.photo_id]
        if most is None or len(sets[of(row)]) < most:
            sets[of(row)].append(_truth(pair.photo_id, row["title"] or "", Image.fromarray(pair.color)))
    return dict(sets)


def delta_e76(truth: Picture, result: Picture) -> float:
    """Mean over the pixels of the Euclidean distance in CIELAB (CIE 1976)."""
    return float((lab_of(truth) - lab_of(result)).square().sum(dim=0).sqrt().mean())


def measured(truths: list[_Truth], colorizers: Mapping[str, Colorize]) -> _Table:
    """Every metric of every colorizer, with its interval over the photographs."""
    colours = {photo_id: colour for photo_id, _, _, colour in truths}
    differences: dict[str, list[float]] = defaultdict(list)

    def noted(name: str, colorizer: Colorize) -> Colorize:
        def colorize(gray: Grey, photo_id: str) -> Picture:
            result = colorizer(gray, photo_id)
            differences[name].append(delta_e76(colours[photo_id], result))
            return result

        return colorize

    evaluation: Evaluation = evaluate(
        truths, {name: noted(name, one) for name, one in colorizers.items()}, lambda _: None
    )
    differences[GREY_COPY] = [delta_e76(colour, np.repeat(gray[..., None], 3, axis=2)) for *_, gray, colour in truths]
    differences[TRUTH] = [0.0] * len(truths)
    return {
        row.colorizer: row.metrics | {_DELTA_E76: mean_with_interval(differences[row.colorizer], evaluation.seed)}
        for row in evaluation.table
    }


def without_truth(greys: list[tuple[str, Grey]], colorizers: Mapping[str, Colorize]) -> _Table:
    """Colourfulness and uniformity of what is made of photographs that have no colour of their own."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for photo_id, gray in greys:
        for name, colorizer in colorizers.items():
            result = colorizer(gray, photo_id)
            values[name]["colourfulness"].append(colourfulness(result))
            values[name]["uniformity"].append(uniformity_of_lab(lab_of(result)))
    return {
        name: {metric: mean_with_interval(numbers, 0) for metric, numbers in metrics.items()}
        for name, metrics in values.items()
    }


def _greys(folder: Path, most: int | None) -> Iterator[tuple[str, Grey]]:
    found = 0
    for path in sorted((folder / "images").iterdir()):
        picture = open_trimmed(path)
        if not looks_coloured(picture):
            yield path.stem, decolorize(_seen(picture), "lightness")
            found += 1
        if found == most:
            return


def _print(name: str, count: int, found: _Table) -> None:
    say(f"\n{name}, {count} photographs")
    rows = []
    for colorizer, metrics in found.items():
        cells = [metrics.get(metric) for metric in _SHOWN]
        rows.append(
            [colorizer, *("-" if one is None else f"{one.value:.2f} ({one.low:.2f}..{one.high:.2f})" for one in cells)]
        )
    say(table(["", *_SHOWN], rows))


def _promises(tables: dict[str, _Table], sets: dict[str, int]) -> list[Promise]:
    promises = []
    if "kodachromes" in tables:
        rows = tables["kodachromes"]
        ours, grey, truth = rows[_NAME], rows[GREY_COPY], rows[TRUTH]
        on = f"on {sets['kodachromes']} Kodachromes that it never saw, at {_SIDE} px"
        share = ours["colourfulness"].value / truth["colourfulness"].value
        frechet = ours[FRECHET].value / grey[FRECHET].value
        promises += [
            Promise.at_least("colourfulness over the truth's", share, 0.8, on),
            Promise.at_most("mean CIE 1976 difference", ours[_DELTA_E76].value, 8.8, on),
            Promise.at_least("PSNR, dB", ours["psnr"].value, 28.8, on),
            Promise.at_most("Fréchet-Lite0 over the grey copy's", frechet, 0.6, on),
        ]
    for name, rows in tables.items():
        if GREY_COPY in rows:
            ratio = rows[_NAME]["ciede2000"].value / rows[GREY_COPY]["ciede2000"].value
            promises.append(
                Promise.at_most(f"CIEDE2000 over the grey copy's, {name}", ratio, 1.0, "mean over photographs")
            )
    if "korean war" in tables:
        ours = tables["korean war"][_NAME]
        promises.append(
            Promise.at_least("colourfulness, korean war", ours["colourfulness"].value, 12, "mean over photographs")
        )
        uniform = ours["uniformity"].value / tables["kodachromes"][TRUTH]["uniformity"].value
        how = "share of one hue's sector over that in the Kodachromes themselves"
        promises.append(Promise.at_most("uniformity, korean war", uniform, 4 / 3, how))
    return promises


def _colorizers(asked: argparse.Namespace, settings: Settings) -> dict[str, Colorize]:
    folders = {_NAME: asked.starter, **dict(asked.model)}
    if (asked.demo / "mlflow.db").exists():
        demo = load_settings(home=asked.demo)
        folders["demo's model"] = chosen_model(open_tracking(demo), demo).folder
    ours = {name: by_grey(open_colorizer(Path(folder), "auto")) for name, folder in folders.items()}
    return {**ours, **open_baselines(settings)}


def _named(given: str) -> tuple[str, Path]:
    name, equals, folder = given.partition("=")
    if not equals or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"`{given}` is not NAME=FOLDER of a model bundle")
    return name, Path(folder)


def main() -> int:
    """Measure, print the tables and the JSON object; gives the exit status."""
    parser = options(__doc__ or "")
    parser.add_argument("--starter", type=Path, default=STARTER, metavar="FOLDER", help="another bundle in its place")
    parser.add_argument("--model", type=_named, action="append", default=[], metavar="NAME=FOLDER", help="one more")
    parser.add_argument("--demo", type=Path, default=Path("var"), help="home of a demo; default: %(default)s")
    parser.add_argument("--work", type=Path, help="keep the crawled photographs here; default: a temporary folder")
    asked = parser.parse_args()
    most = _QUICK if asked.quick else None
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        if asked.photos:
            sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is no part of the package
            from starter_training.collecting import collected
            from starter_training.photographs import is_kodachrome

            settings = collected(asked.photos, work)
            sets = test_sets(settings, lambda row: "kodachromes" if is_kodachrome(row) else "natural", most)
        else:
            settings = home_with_pairs(work / "home")
            sets = test_sets(settings, lambda _: "embedded", most)
        machine = machine_facts(_PACKAGES, work)
        colorizers = _colorizers(asked, settings)
        tables, counts = {}, {}
        for name, truths in sets.items():
            tables[name], counts[name] = measured(truths, colorizers), len(truths)
            _print(name, counts[name], tables[name])
        if asked.photos:
            name = "korean war"
            greys = list(_greys(asked.photos / "korean_war_1950_1953", most))
            tables[name], counts[name] = without_truth(greys, colorizers), len(greys)
            _print(name, counts[name], tables[name])
    facts = {
        "photographs": counts,
        "tables": {
            name: {one: {metric: list(value) for metric, value in row.items()} for one, row in found.items()}
            for name, found in tables.items()
        },
    }
    scaled = [f"{_QUICK} photographs of each set at most"] if asked.quick else []
    return conclude(asked, "quality", _promises(tables, counts), facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
