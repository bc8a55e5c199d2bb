"""`kwcolor ui`: the servers of Dagster and MLflow on this machine, started and stopped together.

Belongs here: their commands and environment, waiting until they answer, starting again what ended, and stopping
them and everything that they started. What they show does not.

Dagster is three: the code server, which holds the definitions and starts runs, the daemon, and the page's server.
`dagster dev` would start them as well. It ends all of them, runs included, where one is killed; and one that fails by
an error of its own neither works nor ends, because it waits for a pipe, so that nobody notices.
"""

import contextlib
import datetime
import functools
import importlib.resources
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from kwcolor_pipeline.home import write_bytes
from kwcolor_pipeline.settings import Settings, SettingsProblem

_HOST = "127.0.0.1"
#: Name of the server of Dagster's page.
_PAGE = "Dagster"
#: How often Dagster is asked whether it has its definitions.
_LOOK_SECONDS = 15.0
_TAIL_BYTES = 8192
_TAIL_LINES = 20
# Dagster needs 3 to 4 s to end its own children after SIGINT; the rest is reserve for a busy machine.
_STOP_SIGNALS = ((signal.SIGINT, 20.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True)
class Server:
    """How one server is started and when it is up."""

    name: str
    port: int | None
    port_option: str
    health_path: str
    command: list[str]
    log: Path
    socket: Path | None = None
    """where it listens, in place of a port"""

    @property
    def address(self) -> str:
        return f"http://{_HOST}:{self.port}"


def serve(
    settings: Settings,
    *,
    dagster_port: int = 3000,
    mlflow_port: int = 5000,
    module: str = "kwcolor_pipeline.definitions",
    say: Callable[[str], None] = functools.partial(print, flush=True),
    start_timeout: float = 180.0,
) -> int:
    """Run the servers until Ctrl-C, SIGTERM or SIGHUP (0), or until one of them cannot be started (1).

    One that ends by itself after it was up is started again, and the others, and runs that they started, go on.
    Where the settings name an MLflow server, only Dagster is started. ``module`` holds the Dagster
    definitions; ``start_timeout`` is in seconds. Has to be called in the main thread. Raises
    SettingsProblem for a port that is taken and for what MLflow's database has to be repaired for.
    """
    with tempfile.TemporaryDirectory(prefix="kwcolor-") as sockets:
        servers = _dagster_servers(settings, dagster_port, module, Path(sockets))
        return _serve(settings, servers, dagster_port, mlflow_port, say, start_timeout)


def _serve(
    settings: Settings,
    servers: list[Server],
    dagster_port: int,
    mlflow_port: int,
    say: Callable[[str], None],
    start_timeout: float,
) -> int:
    if not _has_mlflow_server(settings):
        servers.append(_mlflow_server(settings, mlflow_port))
    for server in servers:
        _require_free_port(server)
    _prepare_tracking(settings)
    prepare_dagster_home(settings)
    environment = _environment(settings, dagster_port, mlflow_port)
    with _stop_requests() as stop:
        running: list[tuple[Server, subprocess.Popen[bytes]]] = []
        problem = None
        try:
            for log in {server.log for server in servers}:
                log.unlink(missing_ok=True)
            for server in servers:
                running.append((server, _start(server, environment)))
                # The others ask at once for what the code server holds.
                if server.socket is not None and problem is None:
                    problem = _wait_until_up(running, stop, start_timeout)
            problem = problem or _wait_until_up(running, stop, start_timeout)
            if problem is None and not stop.is_set():
                _announce(settings, servers, say)
                problem = _watch(running, environment, stop, say, start_timeout)
        finally:
            _stop_groups([process for _, process in running])
    if problem:
        say(problem)
        return 1
    return 0


def prepare_dagster_home(settings: Settings) -> Path:
    """The folder for DAGSTER_HOME, with this package's dagster.yaml in it and what the settings replace of it.

    Raises SettingsProblem for a file of the setting `dagster_config` that cannot be used.
    """
    folder = settings.paths.dagster
    wanted = importlib.resources.files("kwcolor_pipeline").joinpath("dagster.yaml").read_bytes()
    if settings.dagster_config:
        wanted = _replaced(wanted, settings.dagster_config)
    file = folder / "dagster.yaml"
    if not file.exists() or file.read_bytes() != wanted:
        write_bytes(file, wanted)
    return folder


def _replaced(config: bytes, files: Sequence[Path]) -> bytes:
    """A YAML mapping with the entries of the files in place of its own."""
    import yaml

    entries = yaml.safe_load(config)
    for file in files:
        try:
            further = yaml.safe_load(file.read_bytes())
        except (OSError, yaml.YAMLError) as error:
            raise SettingsProblem(f"Setting `dagster_config`: {file} cannot be read ({error}).") from error
        if not isinstance(further, dict):
            raise SettingsProblem(f"Setting `dagster_config`: {file} holds no entries such as `storage:`.")
        entries |= further
    return f"# Made of {', '.join(map(str, files))} and the pipeline's own.\n{yaml.safe_dump(entries)}".encode()


def _dagster_servers(settings: Settings, port: int, module: str, sockets: Path) -> list[Server]:
    """Code server, page and daemon, in the order in which they need each other."""
    log = settings.paths.root / "logs/dagster.log"
    socket_file, workspace = sockets / "code", sockets / "workspace.yaml"
    # Its name is part of what the history says of runs, schedules and sensors.
    location = {"socket": str(socket_file), "location_name": module}
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": location}]}))  # JSON is YAML
    code = ["-m", "dagster", "code-server", "start", "--socket", str(socket_file), "--log-level", "warning"]
    code += ["--location-name", module, "-m", module, "-d", str(Path.cwd())]
    page = ["-m", "dagster_webserver", "-h", _HOST, "-p", str(port), "-w", str(workspace)]
    daemon = ["-m", "dagster._daemon", "run", "-w", str(workspace)]
    return [
        Server("Dagster's code server", None, "", "", [sys.executable, *code], log, socket_file),
        Server(_PAGE, port, "--dagster-port", "/server_info", [sys.executable, *page], log),
        Server("Dagster's daemon", None, "", "", [sys.executable, *daemon], log),
    ]


def _mlflow_server(settings: Settings, port: int) -> Server:
    command = [
        *[sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port)],
        *["--artifacts-destination", str(settings.paths.mlflow_artifacts)],
        # MLflow starts four workers of about 300 MB each unless it is told; one serves one person.
        *["--workers", "1"],
        # MLflow's default also answers to every private address, which a loopback server never has.
        *["--allowed-hosts", "localhost,localhost:*,127.0.0.1,127.0.0.1:*"],
    ]
    return Server("MLflow", port, "--mlflow-port", "/health", command, settings.paths.root / "logs/mlflow.log")


def _has_mlflow_server(settings: Settings) -> bool:
    return settings.tracking_uri.startswith(("http://", "https://"))


def _require_free_port(server: Server) -> None:
    if server.port is None:
        return
    with socket.socket() as probe:
        # As servers do, so that connections of an earlier server that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, server.port))
        except (OSError, OverflowError) as error:
            raise SettingsProblem(
                f"{server.name} cannot use port {server.port} ({error}); stop what uses it "
                f"or choose another with {server.port_option}."
            ) from error


def _prepare_tracking(settings: Settings) -> None:
    """Create MLflow's database before two processes try at once, in a process whose memory goes with it."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pool.submit(_prepare_tracking_here, settings).result()


def _prepare_tracking_here(settings: Settings) -> None:
    from kwcolor_pipeline.tracking.mlflow_tracking import open_tracking

    open_tracking(settings).prepare()


def _environment(settings: Settings, dagster_port: int, mlflow_port: int) -> dict[str, str]:
    """What the servers inherit, and what has to hold for the runs that Dagster starts in them."""
    environment = {
        **os.environ,
        "KWCOLOR_HOME": str(settings.paths.root.absolute()),
        "DAGSTER_HOME": str(settings.paths.dagster.absolute()),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Not on the command line: everyone on the machine could read a database's password there.
        "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri,
        # Background jobs (trace scoring) would be further processes that nothing here uses.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    if not _has_mlflow_server(settings) and "mlflow_ui_url" not in settings.model_fields_set:
        environment["KWCOLOR_MLFLOW_UI_URL"] = f"http://{_HOST}:{mlflow_port}"
    if "dagster_ui_url" not in settings.model_fields_set:
        environment["KWCOLOR_DAGSTER_UI_URL"] = f"http://{_HOST}:{dagster_port}"
    return environment


def _start(server: Server, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start in a process group of its own, so that stopping reaches its children and nothing else.

    SIGINT has a handler here (`_stop_requests`), so the child gets the default one even where this
    process inherited an ignored SIGINT; Dagster could not be stopped otherwise.
    """
    server.log.parent.mkdir(parents=True, exist_ok=True)
    with server.log.open("ab") as log:
        return subprocess.Popen(
            server.command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and the terminal's closing set; the former handlers come back after."""
    stop = threading.Event()
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        wanted.append(signal.SIGHUP)
    former = {number: signal.signal(number, lambda *_: stop.set()) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _wait_until_up(
    running: "list[tuple[Server, subprocess.Popen[bytes]]]", stop: threading.Event, timeout: float
) -> str | None:
    """Wait until all answer or stopping is asked for; otherwise say what went wrong."""
    deadline = time.monotonic() + timeout
    waiting = [server for server, _ in running]
    while waiting and not stop.wait(0.3):
        fallen = _fallen(running)
        if fallen:
            return fallen
        waiting = [server for server in waiting if not _answers(server)]
        if waiting and time.monotonic() > deadline:
            return f"{waiting[0].name} did not answer within {timeout:.0f} s. {_last_lines(waiting[0].log)}"
    return None


def _answers(server: Server) -> bool:
    """Whether it is up; one that listens nowhere is as soon as it runs."""
    if server.socket is not None:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(server.socket)) == 0
    if server.port is None:
        return True
    import requests

    with requests.Session() as session:
        session.trust_env = False  # a proxy cannot reach this machine's loopback
        try:
            return session.get(server.address + server.health_path, timeout=5).status_code == 200
        except requests.RequestException:
            return False


def _watch(
    running: "list[tuple[Server, subprocess.Popen[bytes]]]",
    environment: dict[str, str],
    stop: threading.Event,
    say: Callable[[str], None],
    start_timeout: float,
) -> str | None:
    """Wait until stopping is asked for; or until a server that ended by itself cannot be started again, and say how.

    When a new year begins Dagster is asked to load its definitions again: the years are partitions. So it is where
    it has none, because their process was killed or could not load them.
    """
    year, looked = datetime.date.today().year, time.monotonic()
    told: str | None = None
    while not stop.wait(0.5):
        fallen = _fallen(running)
        if fallen:
            say(fallen)
            problem = _start_again(running, environment, stop, start_timeout)
            if problem or stop.is_set():
                return problem
            say("It was started again.")
        dagster = next(server.address for server, _ in running if server.name == _PAGE)
        if datetime.date.today().year != year:
            year = datetime.date.today().year
            say(_load_again(dagster) or f"{year} is a partition now.")
        if time.monotonic() - looked > _LOOK_SECONDS:
            looked = time.monotonic()
            if _lacks_its_definitions(dagster):
                problem = _load_again(dagster)
                if problem is None or problem != told:  # once, however often it is tried
                    say(problem or "Dagster had lost its definitions and loaded them again.")
                told = problem
            else:
                told = None
    return None


def _start_again(
    running: "list[tuple[Server, subprocess.Popen[bytes]]]",
    environment: dict[str, str],
    stop: threading.Event,
    timeout: float,
) -> str | None:
    """Start the servers that ended, after what is left of them was stopped; say what hinders it."""
    ended = [place for place, (_, process) in enumerate(running) if process.poll() is not None]
    _stop_groups([running[place][1] for place in ended])
    for place in ended:
        running[place] = (running[place][0], _start(running[place][0], environment))
    # One that ends meanwhile has its turn afterwards.
    return _wait_until_up([running[place] for place in ended], stop, timeout)


def _lacks_its_definitions(dagster: str) -> bool:
    """Whether the Dagster at this address says that it has not its definitions, for instance because of a full disk."""
    import requests

    query = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { ... on PythonError "
    query += "{ className } } } } } }"
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.post(f"{dagster}/graphql", json={"query": query}, timeout=30)
            entries = answer.json()["data"]["workspaceOrError"]["locationEntries"]
            return any("className" in (entry["locationOrLoadError"] or {}) for entry in entries)
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return False  # the next look tells


#: A location whose code cannot be loaded is an entry with an error; the mutation itself succeeds.
_LOAD_AGAIN = """mutation { reloadWorkspace {
  ... on Workspace { locationEntries { locationOrLoadError { ... on PythonError { message } } } }
  ... on UnauthorizedError { message }
  ... on PythonError { message }
} }"""


def _load_again(dagster: str) -> str | None:
    """Have the Dagster at this address load its definitions again; say what hindered it."""
    import requests

    remedy = "reload the code location on Dagster's page Deployment."
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.post(f"{dagster}/graphql", json={"query": _LOAD_AGAIN}, timeout=120)
            outcome = answer.json()["data"]["reloadWorkspace"]
            loaded = [entry["locationOrLoadError"] for entry in outcome.get("locationEntries", [])]
            problems = [one["message"].strip().splitlines()[0] for one in [outcome, *loaded] if "message" in one]
        except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
            problems = [type(error).__name__]
    return f"Dagster did not load its definitions again ({'; '.join(problems)}); {remedy}" if problems else None


def _fallen(running: "list[tuple[Server, subprocess.Popen[bytes]]]") -> str | None:
    for server, process in running:
        code = process.poll()
        if code is not None:
            return f"{server.name} ended by itself (exit code {code}). {_last_lines(server.log)}"
    return None


def _last_lines(log: Path) -> str:
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = handle.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join([f"The last lines of {log}:", *(f"  {line}" for line in lines)])


def _announce(settings: Settings, servers: list[Server], say: Callable[[str], None]) -> None:
    for server in servers:
        if server.port is not None:
            say(f"{server.name}: {server.address}")
    if _has_mlflow_server(settings):
        say(f"MLflow: {settings.mlflow_ui_url}")
    say("Ctrl-C stops.")


def _stop_groups(processes: "list[subprocess.Popen[bytes]]") -> None:
    """Stop the process groups: ask, ask again, kill; and kill what they started in a group of its own."""
    family = [child for process in processes for child in _descendants(process.pid)]
    for number, patience in _STOP_SIGNALS:
        alive = [process for process in processes if _group_lives(process)]
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(_group_lives(process) for process in alive):
            time.sleep(0.2)
    # A code server that was told to load again leaves a process that waits for its last answers.
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _descendants(process: int) -> list[psutil.Process]:
    try:
        return psutil.Process(process).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _group_lives(process: "subprocess.Popen[bytes]") -> bool:
    """Whether the process or any of its group still runs; zombies that nobody collected do not count."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return any(_belongs(other, process.pid) for other in psutil.process_iter())


def _belongs(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ProcessLookupError):
        return False
