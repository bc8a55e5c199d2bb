"""A training in several processes on this machine, as a step of a Dagster run.

Belongs here: starting torchrun through Dagster Pipes, telling what the processes report, ending them with the
step. What they do is in `training.worker`. https://docs.dagster.io/guides/build/external-pipelines
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.presets import Preset

#: Seconds between looks at what the processes have reported.
_LOOK_SECONDS = 0.2


def train_in_processes(
    context: dg.AssetExecutionContext,
    settings: Settings,
    stage: str,
    preset: Preset,
    on_epoch: Callable[[dict[str, float]], None],
) -> None:
    """Train ``stage`` in `training_processes` processes; ``on_epoch`` is told each epoch's record while they train.

    Their log is in the run's log, and what they print in its output. An interruption of the step lets them save
    before it goes on.
    Raises SettingsProblem and TrainingDiverged as the training does, RuntimeError for other failures of a process.
    """
    told = 0

    def tell(session: dg.PipesSession, process: "subprocess.Popen[bytes]") -> None:
        nonlocal told
        new = session.get_custom_messages()[told:]
        told += len(new)
        for record in new:
            on_epoch(record)
            _take_note(process)

    with tempfile.TemporaryDirectory() as folder:
        error_file = Path(folder) / "error.json"
        with dg.open_pipes_session(
            context=context,
            context_injector=dg.PipesTempFileContextInjector(),
            message_reader=dg.PipesTempFileMessageReader(),
            extras={"preset": preset.model_dump(mode="json")},
        ) as session:
            process = _started(settings, stage, session, error_file)
            try:
                while not _has_ended(process):
                    tell(session, process)
            except BaseException:
                _end(process)
                raise
        tell(session, process)  # what came between the last look and the end
        if process.returncode != 0:
            _raise_failure(error_file, process.returncode)


def _started(settings: Settings, stage: str, session: dg.PipesSession, error_file: Path) -> "subprocess.Popen[bytes]":
    count = settings.training_processes
    elastic = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    worker = ["--nproc-per-node", str(count), "-m", "kwcolor_pipeline.training.worker", stage]
    environment = {
        # Processes of one machine need no other address; without it gloo takes the one of the machine's name.
        **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        **os.environ,
        **session.get_bootstrap_env_vars(),
        "KWCOLOR_HOME": str(settings.home),
        "KWCOLOR_DEVICE": settings.device,
        # Here torchrun leaves the error of the process that failed first.
        "TORCHELASTIC_ERROR_FILE": str(error_file),
    }
    # A Ctrl-C in the terminal is for this process, which passes it on. The input that stays open tells the
    # processes that this one lives: they end when it is killed.
    command = [sys.executable, *elastic, *worker]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether the process ends within the next moment."""
    try:
        process.wait(_LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _take_note(process: "subprocess.Popen[bytes]") -> None:
    """Let the training go on: it waits after each epoch until it was told."""
    assert process.stdin is not None  # see _started
    with contextlib.suppress(BrokenPipeError):  # a process that ended does not wait
        process.stdin.write(b".")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask torchrun to end: it passes the signal on, waits half a minute and then kills what is left."""
    _take_note(process)
    process.send_signal(signal.SIGTERM)
    process.wait()


def _raise_failure(error_file: Path, code: int) -> None:
    from kwcolor_pipeline.training.readings import TrainingDiverged

    if not error_file.exists():
        raise RuntimeError(f"The training's processes ended with exit code {code}; the step's output says more.")
    kind, _, sentence = json.loads(error_file.read_text())["message"]["message"].partition(": ")
    for known in (SettingsProblem, TrainingDiverged):
        if kind == known.__name__:
            raise known(sentence)
    raise RuntimeError(f"The training failed in {sentence}" if kind == "WorkerFailed" else f"{kind}: {sentence}")
