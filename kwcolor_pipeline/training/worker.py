"""One process of a training: started by hand, by torchrun (one for each GPU), or by an asset through Dagster Pipes.

    torchrun --nproc-per-node 2 -m kwcolor_pipeline.training.worker pretrained_generator

Belongs here: arguments, reports and exit codes. A training is the same whoever starts it.
"""

import argparse
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import record

from kwcolor_pipeline.settings import Settings, SettingsProblem, load_settings
from kwcolor_pipeline.training.adversarial import train_gan
from kwcolor_pipeline.training.critic_training import train_critic
from kwcolor_pipeline.training.loop import OnEpoch
from kwcolor_pipeline.training.losses import obtain_perceptual_weights
from kwcolor_pipeline.training.presets import PRESETS, Preset, load_preset
from kwcolor_pipeline.training.pretraining import pretrain_generator
from kwcolor_pipeline.training.processes import AnotherFailed, Processes
from kwcolor_pipeline.training.readings import TrainingDiverged

log = logging.getLogger(__name__)

#: The stages by their assets' names, in the order in which they need each other.
STAGES = {"pretrained_generator": pretrain_generator, "critic": train_critic, "gan_model": train_gan}
#: How Dagster tells a process that it started it: https://docs.dagster.io/guides/build/external-pipelines
_STARTED_BY_DAGSTER = "DAGSTER_PIPES_CONTEXT"
#: Seconds for which a process that lost another one waits before it fails too: torchrun takes the failure of the
#: earliest second for the cause, and ends the others as soon as it sees one.
_SECONDS_FOR_THE_CAUSE = 10

#: Failures that say themselves what to do.
_IN_ONE_SENTENCE = (SettingsProblem, TrainingDiverged)

_EXAMPLES = """\
examples:
  python -m kwcolor_pipeline.training.worker pretrained_generator --preset demo --set size=96
  torchrun --nproc-per-node 2 -m kwcolor_pipeline.training.worker pretrained_generator
  torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint first:29500 \\
      -m kwcolor_pipeline.training.worker gan_model

Settings come from KWCOLOR_* and kwcolor.toml, as for `kwcolor`. All machines have to see the same KWCOLOR_HOME.
A later `kwcolor run` with the same preset takes the result as it is. docs/training.md tells more.
"""


class WorkerFailed(Exception):
    """A process of several failed; the message says which, where and why."""


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kwcolor_pipeline.training.worker",
        description="Train one stage: alone, or under torchrun together with the other processes.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", choices=STAGES, help="what to train; each needs those before it")
    parser.add_argument("--preset", help=f"one of {', '.join(PRESETS)}; the settings' own where it is not given")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="replace a field of the preset, e.g. batch_size=64; can be given several times",
    )
    return parser.parse_args(given)


def _replacements(given: Sequence[str]) -> dict[str, Any]:
    """The fields of `--set`; values are JSON where they can be read as such, else text. Raises SettingsProblem."""
    fields: dict[str, Any] = {}
    for entry in given:
        field, equals, value = entry.partition("=")
        if not equals:
            raise SettingsProblem(f"`--set {entry}` has no value; write it as FIELD=VALUE, e.g. batch_size=64.")
        try:
            fields[field] = json.loads(value)
        except ValueError:
            fields[field] = value
    return fields


@contextlib.contextmanager
def _reports(asked: argparse.Namespace, settings: Settings, processes: Processes) -> Iterator[tuple[Preset, OnEpoch]]:
    """The preset to train with, and whom epochs are told: Dagster where it started this, else the log."""
    if _STARTED_BY_DAGSTER not in os.environ:
        yield load_preset(asked.preset or settings.preset, settings.training | _replacements(asked.set)), _log_epoch
    elif not processes.is_first:
        yield Preset(**processes.of_first({})), _log_epoch
    else:
        from dagster_pipes import open_dagster_pipes

        taken_note = _notes_of_parent()
        with open_dagster_pipes() as pipes:
            for handler in pipes.log.handlers:
                logging.getLogger("kwcolor_pipeline").addHandler(handler)
            preset: dict[str, Any] = pipes.get_extra("preset")

            def tell(told: dict[str, float]) -> None:
                pipes.report_custom_message(told)
                taken_note.acquire()  # the epoch's picture has to stay until it was fetched

            yield Preset(**processes.of_first(preset)), tell


def _log_epoch(told: dict[str, float]) -> None:
    numbers = (f"{name} {value:.4g}" for name, value in told.items() if name not in ("epoch", "step"))
    log.info("epoch %d: %s", told["epoch"], ", ".join(numbers))


def _notes_of_parent() -> threading.Semaphore:
    """Released for every epoch that the asset's process took note of, with a byte on the standard input.

    That process keeps the other end of the input open: when it is gone, however it ended, this one saves and ends.
    """
    notes = threading.Semaphore(0)

    def wait() -> None:
        # Not through sys.stdin: Python would wait for its lock at exit.
        while os.read(sys.stdin.fileno(), 1):
            notes.release()
        os.kill(os.getpid(), signal.SIGTERM)
        notes.release()

    threading.Thread(target=wait, daemon=True).start()
    return notes


def _train(asked: argparse.Namespace) -> None:
    settings = load_settings()
    processes = Processes.joined(settings)
    # The first process speaks for all; the others only where something is wrong with them.
    logging.basicConfig(level=logging.INFO if processes.is_first else logging.ERROR, format="%(message)s")
    try:
        with _reports(asked, settings, processes) as (preset, on_epoch):
            weights = {
                "pretrained_generator": preset.pretrain_perceptual_weight,
                "gan_model": preset.gan_perceptual_weight,
            }
            if weights.get(asked.stage):
                with processes.first_before_others():
                    log.info("%s", obtain_perceptual_weights(preset.perceptual_weights))
            trained = STAGES[asked.stage](settings, preset, on_epoch, processes)
            log.info("%s: %s", asked.stage, trained.bundle.folder)
    except AnotherFailed:
        time.sleep(_SECONDS_FOR_THE_CAUSE)
        raise
    except _IN_ONE_SENTENCE:
        raise
    except Exception as error:
        if processes.ranks == 1:
            raise
        raise WorkerFailed(
            f"process {processes.rank} of {processes.ranks} on {socket.gethostname()}: {type(error).__name__}: {error}"
        ) from error
    if processes.ranks > 1:
        distributed.destroy_process_group()


def main() -> None:
    """Train as the command line says. Exit codes: 0 done, 1 failed and why, 2 wrong arguments, 130 interrupted."""
    asked = _arguments(sys.argv[1:])
    try:
        record(_train)(asked)
    except (AnotherFailed, *_IN_ONE_SENTENCE) as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
