"""The installed command and its pages, as a person has them: `kwcolor run`, `kwcolor ui`, a browser window.

Belongs here: starting and stopping them for journeys. What a journey looks for does not.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, Route

TINY_TRAINING = {
    "SIZE": "32",
    "PRETRAIN_EPOCHS": "1",
    "PRETRAIN_MIN_STEPS": "8",
    "CRITIC_EPOCHS": "1",
    "CRITIC_MIN_STEPS": "4",
    "GAN_EPOCHS": "1",
    "GAN_MIN_STEPS": "4",
}
_WAIT_MS = 60_000
_STOP_SECONDS = 60


@dataclass(frozen=True)
class UserInterface:
    """A running `kwcolor ui`."""

    process: "subprocess.Popen[bytes]"
    dagster: str
    mlflow: str
    log: Path


def environment(home: Path, **training: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("KWCOLOR_")}
    fields = {f"KWCOLOR_TRAINING__{name}": value for name, value in (TINY_TRAINING | training).items()}
    return inherited | fields | {"KWCOLOR_HOME": str(home), "KWCOLOR_CONFIG": os.devnull, "KWCOLOR_DEVICE": "cpu"}


def kwcolor(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from kwcolor_pipeline.cli import main; main()", *arguments]


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@contextlib.contextmanager
def running_ui(home: Path, settings: Mapping[str, str] | None = None) -> Iterator[UserInterface]:
    """`kwcolor ui` over a home, on ports of its own; ``settings`` are environment variables."""
    dagster, mlflow = _free_ports()
    log = home.parent / "ui.log"
    command = kwcolor("ui", "--dagster-port", str(dagster), "--mlflow-port", str(mlflow))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment(home) | dict(settings or {}),
            cwd=home.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_announced(process, log)
        yield UserInterface(process, f"http://127.0.0.1:{dagster}", f"http://127.0.0.1:{mlflow}", log)
    finally:
        stop(process)


def _wait_until_announced(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 240
    while "Ctrl-C stops." not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.3)


def stop(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Stop with Ctrl-C, and whatever survives by force; give the survivors."""
    if process.poll() is not None:
        return []
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    # Python's own resource tracker ends only after the process that it serves.
    _, alive = psutil.wait_procs(family, timeout=10)
    left = [child for child in alive if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    for survivor in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    if process.poll() is None:
        process.kill()
        process.wait()
    return left


class Visit:
    """A browser window that reaches this machine only, and what it complained about."""

    def __init__(self, browser: Browser, screenshots: Path, width: int = 1600, height: int = 1000):
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(_WAIT_MS)
        context.route("**/*", self._let_through)
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self._screenshots = screenshots
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))

    def _let_through(self, route: Route) -> None:
        if route.request.url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:")):
            route.continue_()
        else:
            self.elsewhere.append(route.request.url)
            route.abort()

    def _note(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)

    def shoot(self, name: str, full: bool = False) -> None:
        self.page.screenshot(path=self._screenshots / f"{name}.png", full_page=full)
