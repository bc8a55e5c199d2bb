"""The table that the paper prints of its critic: does ours learn to tell photographs from generated pictures as it did?

Belongs here: the run and its table. The critic and its training are the package's.

The whole recipe `paper` up to the critic, on a number of photographs: a generator is pretrained first, on ImageNet
weights of EfficientNet-Lite0 because the package brings those, and the critic learns from its saved pictures. The paper
(and lesson 7 of fastai's course of 2019, which it follows) reports accuracies of about 0.53 after the first epoch and
0.98 after the fourth. Not a timing: the promise is what the critic learns. Give --photos: the package's own few are
enough to try it and no more.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from homes import home_with_pairs
from pictures import prepare
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.training.critic_training import train_critic
from kwcolor_pipeline.training.paper_stages import PaperCriticTraining
from kwcolor_pipeline.training.presets import load_preset
from kwcolor_pipeline.training.pretraining import pretrain_generator

_PACKAGES = ("kwcolor_pipeline", "torch", "timm", "numpy")
_COLUMNS = ("epoch", "train_loss", "valid_loss", "accuracy_thresh_expand", "seconds")


def main() -> int:
    """Train, print the table and the JSON object; gives the exit status."""
    parser = options(__doc__ or "")
    parser.add_argument("--count", type=int, default=600, help="photographs; default: %(default)s")
    parser.add_argument("--size", type=int, default=64, help="side in pixels; default: %(default)s")
    parser.add_argument("--epochs", type=int, default=10, help="the critic's; default: %(default)s")
    asked = parser.parse_args()
    count, epochs = (60, 2) if asked.quick else (asked.count, asked.epochs)
    given: dict[str, Any] = {"size": asked.size, "critic_epochs": epochs}
    given |= {"encoder": "tf_efficientnet_lite0.in1k", "encoder_weights": "bundled"}
    preset = load_preset("paper", given)
    rows: list[dict[str, float]] = []

    def tell(record: dict[str, float]) -> None:
        rows.append(record)
        say("  ".join(f"{name} {record[name]:.4g}" for name in _COLUMNS if name in record))

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photographs, what = None, "the package's sample"
        if asked.photos:
            photographs = folder / "photographs"
            _, what = prepare(count, photographs, asked.photos)
        settings = home_with_pairs(folder / "home", photographs)
        machine = machine_facts(_PACKAGES, folder)
        say("The generator:")
        generator = pretrain_generator(settings, preset, tell)
        rows.clear()
        say("The critic:")
        untrained = PaperCriticTraining(settings, preset, torch.device("cpu")).validate()
        say(f"before its first step: accuracy {untrained['accuracy']:.4g}")
        critic = train_critic(settings, preset, tell)
    pictures = critic.bundle.description["training_pictures"]
    say()
    say(table(_COLUMNS, [[int(row["epoch"]), *(row[name] for name in _COLUMNS[1:])] for row in rows]))
    accuracies = [row["accuracy_thresh_expand"] for row in rows]
    promises = [
        Promise.at_most(
            "accuracy before the first step, off 0.5",
            abs(untrained["accuracy"] - 0.5),
            0.1,
            "an untrained critic guesses",
        ),
        Promise.at_least("accuracy at its best", max(accuracies), 0.9, f"within {epochs} epochs, validation split"),
    ]
    facts = {"photographs": what, "training_photographs": pictures, "size": asked.size, "epochs": rows}
    facts |= {"untrained": untrained, "generator": generator.history}
    scaled = ["60 photographs and two epochs"] if asked.quick else []
    return conclude(asked, "critic_table", promises, facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
