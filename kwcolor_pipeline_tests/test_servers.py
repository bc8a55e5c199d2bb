import datetime
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests
import yaml

from kwcolor_pipeline import servers
from kwcolor_pipeline.settings import SettingsProblem, load_settings

#: Answers with 200, ignores polite signals, and has a child in its process group.
STUBBORN = """
import http.server, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

#: Runs `serve` with two such servers; `broken` makes the second one end with a message, `fragile` makes the first one
#: unable to start a second time.
LIFECYCLE = """
import signal, sys
from pathlib import Path
from kwcolor_pipeline import servers
from kwcolor_pipeline.settings import load_settings

home, first, second, broken, stubborn = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]

def fake(name, port, code):
    return servers.Server(name, port, "--port", "/", [sys.executable, "-c", code, str(port)], home / f"logs/{name}.log")

servers._dagster_servers = lambda settings, port, module, sockets: [fake("Dagster", port, stubborn)]
servers._mlflow_server = lambda settings, port: fake("MLflow", port, "1/0" if broken == "broken" else stubborn)
servers._prepare_tracking = lambda settings: None
servers._STOP_SIGNALS = ((signal.SIGINT, 0.5), (signal.SIGTERM, 0.5), (signal.SIGKILL, 5.0))
say = lambda text: print(text, flush=True)
sys.exit(servers.serve(load_settings(home=home), dagster_port=first, mlflow_port=second, say=say))
"""

REAL = """
import sys
from kwcolor_pipeline.servers import serve
from kwcolor_pipeline.settings import load_settings
if __name__ == "__main__":
    say = lambda text: print(text, flush=True)
    settings = load_settings(home=sys.argv[1])
    sys.exit(serve(settings, dagster_port=int(sys.argv[2]), mlflow_port=int(sys.argv[3]), module="tiny", say=say))
"""


#: Definitions that say when they were loaded.
TINY = """
import time
import dagster as dg
@dg.asset
def a(): ...
defs = dg.Definitions(assets=[a], jobs=[dg.define_asset_job(f"loaded_{time.time_ns()}", selection="a")])
"""


def loaded_as(port: int) -> list[str]:
    """The names of the jobs that Dagster's page shows."""
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"
    answer = requests.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=30).json()
    nodes = answer["data"]["repositoriesOrError"]["nodes"]
    return [job["name"] for node in nodes for job in node["jobs"] if job["name"].startswith("loaded_")]


def free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture
def started() -> "Iterator[list[subprocess.Popen[str]]]":
    """Processes that a test started; what is left of them and of their children is killed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def start_in_background(command: list[str], **options: object) -> "subprocess.Popen[str]":
    """As a script's `command &` does it: with SIGINT ignored."""
    return subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} was never said:\n{seen}")


def lifecycle(tmp_path: Path, ports: tuple[int, int], broken: str = "") -> "subprocess.Popen[str]":
    arguments = [str(tmp_path), *map(str, ports), broken, STUBBORN]
    return start_in_background([sys.executable, "-c", LIFECYCLE, *arguments])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_ends_the_servers_with_their_children(
    tmp_path: Path, started: "list[subprocess.Popen[str]]", number: signal.Signals
) -> None:
    ports = free_ports()
    process = lifecycle(tmp_path, ports)
    started.append(process)
    said = read_until(process, "Ctrl-C")
    assert f"Dagster: http://127.0.0.1:{ports[0]}" in said
    assert f"MLflow: http://127.0.0.1:{ports[1]}" in said
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 4
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.send_signal(number)
    assert process.wait(30) == 0
    assert [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_server_that_ends_by_itself_is_named_and_the_other_is_stopped(
    tmp_path: Path, started: "list[subprocess.Popen[str]]"
) -> None:
    ports = free_ports()
    process = lifecycle(tmp_path, ports, "broken")
    started.append(process)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "MLflow ended by itself (exit code 1)" in said
    assert "ZeroDivisionError" in said
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", ports[0])) != 0


def test_a_server_that_is_killed_is_started_again_and_the_other_goes_on(
    tmp_path: Path, started: "list[subprocess.Popen[str]]"
) -> None:
    ports = free_ports()
    process = lifecycle(tmp_path, ports)
    started.append(process)
    read_until(process, "Ctrl-C")
    first, second = sorted(
        psutil.Process(process.pid).children(), key=lambda child: child.cmdline()[-1] != str(ports[0])
    )
    children = first.children()
    first.kill()
    said = read_until(process, "It was started again.")
    assert "Dagster ended by itself (exit code -9)" in said
    assert requests.get(f"http://127.0.0.1:{ports[0]}/", timeout=10).status_code == 200
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert second.is_running()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_a_server_that_cannot_be_started_again_is_named_and_the_other_is_stopped(
    tmp_path: Path, started: "list[subprocess.Popen[str]]"
) -> None:
    ports = free_ports()
    once = f"import pathlib\npathlib.Path({str(tmp_path / 'started')!r}).touch(exist_ok=False)\n{STUBBORN}"
    arguments = [str(tmp_path), *map(str, ports), "", STUBBORN]
    both = LIFECYCLE.replace('fake("Dagster", port, stubborn)', f'fake("Dagster", port, {once!r})')
    process = start_in_background([sys.executable, "-c", both, *arguments])
    started.append(process)
    read_until(process, "Ctrl-C")
    by_port = {child.cmdline()[-1]: child for child in psutil.Process(process.pid).children()}
    by_port[str(ports[0])].kill()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "FileExistsError" in said
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", ports[1])) != 0


@pytest.mark.parametrize("option", ["--dagster-port", "--mlflow-port"])
def test_a_port_in_use_is_named_with_its_option(tmp_path: Path, option: str) -> None:
    taken, free = free_ports()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", taken))
        listening.listen()
        dagster, mlflow = (taken, free) if option == "--dagster-port" else (free, taken)
        with pytest.raises(SettingsProblem, match=f"{taken}.*{option}"):
            servers.serve(load_settings(home=tmp_path / "home"), dagster_port=dagster, mlflow_port=mlflow)
    assert not (tmp_path / "home").exists()


def test_the_dagster_home_follows_the_packages_configuration(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    file = servers.prepare_dagster_home(settings) / "dagster.yaml"
    wanted = file.read_bytes()
    assert yaml.safe_load(wanted)["telemetry"] == {"enabled": False}
    written = file.stat().st_mtime_ns
    servers.prepare_dagster_home(settings)
    assert file.stat().st_mtime_ns == written
    file.write_text("telemetry: {enabled: true}")
    servers.prepare_dagster_home(settings)
    assert file.read_bytes() == wanted


def test_the_configuration_loads_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster

    folder = servers.prepare_dagster_home(load_settings(home=tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    with dagster.DagsterInstance.get() as instance:
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_what_the_servers_inherit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWCOLOR_CONTACT", "me@example.org")
    monkeypatch.delenv("KWCOLOR_MLFLOW_UI_URL", raising=False)
    monkeypatch.delenv("KWCOLOR_DAGSTER_UI_URL", raising=False)
    environment = servers._environment(load_settings(home=tmp_path), 3123, 5123)
    assert environment["KWCOLOR_HOME"] == str(tmp_path)
    assert environment["KWCOLOR_CONTACT"] == "me@example.org"
    assert environment["KWCOLOR_MLFLOW_UI_URL"] == "http://127.0.0.1:5123"
    assert environment["KWCOLOR_DAGSTER_UI_URL"] == "http://127.0.0.1:3123"
    secret = load_settings(home=tmp_path, mlflow_tracking_uri="postgresql://u:secret@h/db", mlflow_ui_url="http://ours")
    assert "KWCOLOR_MLFLOW_UI_URL" not in servers._environment(secret, 3123, 5123)
    assert "secret" not in " ".join(servers._mlflow_server(secret, 5123).command)


def reloaded(location: dict[str, str]) -> dict[str, object]:
    return {"data": {"reloadWorkspace": {"locationEntries": [{"locationOrLoadError": location}]}}}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reloaded({}), None),
        (reloaded({"message": "no module"}), "no module"),
        ({"data": {"reloadWorkspace": {"message": "no workspace"}}}, "no workspace"),
        ({"errors": []}, "reload the code location"),
    ],
)
def test_the_definitions_are_loaded_again(answer: dict[str, object], said: str | None) -> None:
    asked: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        sentence = servers._load_again(f"http://127.0.0.1:{server.server_port}")
        thread.join()
    assert b"reloadWorkspace" in asked[0]
    assert sentence is None if said is None else said in (sentence or "")


UNREACHABLE = {"locationOrLoadError": {"className": "DagsterUserCodeUnreachableError"}}


@pytest.mark.parametrize(
    ("entries", "lost"),
    [
        ([UNREACHABLE], True),
        ([{"locationOrLoadError": {}}], False),
        ([{"locationOrLoadError": None}], False),
        ([{"locationOrLoadError": {"className": "OperationalError"}}], True),
        (None, False),
    ],
)
def test_definitions_that_nobody_holds_any_more_are_noticed(entries: list[object] | None, lost: bool) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": {"workspaceOrError": {"locationEntries": entries}}}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert servers._lacks_its_definitions(f"http://127.0.0.1:{server.server_port}") == lost
        thread.join()


def test_definitions_are_loaded_again_until_they_are_there_and_a_hindrance_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = iter(["disk full", "disk full", None, "disk full", None])
    lacking = iter([True, True, True, False, True, True])
    monkeypatch.setattr(servers, "_LOOK_SECONDS", -1)
    monkeypatch.setattr(servers, "_lacks_its_definitions", lambda address: next(lacking))
    monkeypatch.setattr(servers, "_load_again", lambda address: next(outcomes))
    dagster = servers.Server("Dagster", 3000, "--dagster-port", "/", [], Path("log"))
    looks = iter([False] * 6 + [True])
    stop = SimpleNamespace(wait=lambda seconds: next(looks))
    said: list[str] = []
    servers._watch([(dagster, SimpleNamespace(poll=lambda: None))], {}, stop, said.append, 1.0)
    again = "Dagster had lost its definitions and loaded them again."
    assert said == ["disk full", again, "disk full", again]


def test_a_new_year_is_noticed_once_while_the_servers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    days = iter([datetime.date(2030, 12, 31)] * 2 + [datetime.date(2031, 1, 1)] * 9)
    clock = SimpleNamespace(date=SimpleNamespace(today=lambda: next(days)))
    monkeypatch.setattr(servers, "datetime", clock)
    loaded: list[str] = []
    monkeypatch.setattr(servers, "_load_again", loaded.append)
    dagster = servers.Server("Dagster", 3000, "--dagster-port", "/", [], Path("log"))
    looks = iter([False, False, False, True])
    stop = SimpleNamespace(wait=lambda seconds: next(looks))
    alive = SimpleNamespace(poll=lambda: None)
    said: list[str] = []
    assert servers._watch([(dagster, alive)], {}, stop, said.append, 1.0) is None
    assert said == ["2031 is a partition now."]
    assert loaded == ["http://127.0.0.1:3000"]


@pytest.mark.slow
def test_the_real_servers(tmp_path: Path, started: "list[subprocess.Popen[str]]") -> None:
    from kwcolor_pipeline.tracking.mlflow_tracking import WEIGHTS_FILE, WEIGHTS_TAG, Tracking

    (tmp_path / "tiny.py").write_text(TINY)
    (tmp_path / "real.py").write_text(REAL)
    home, ports = tmp_path / "home", free_ports()
    command = [sys.executable, "real.py", str(home), *map(str, ports)]
    process = start_in_background(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    started.append(process)
    read_until(process, "Ctrl-C")
    health = f"http://127.0.0.1:{ports[1]}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert requests.get(health, timeout=10).status_code == 200
    assert requests.get(health, timeout=10, headers={"Host": "evil.example"}).status_code == 403

    before = loaded_as(ports[0])
    assert before
    assert servers._load_again(f"http://127.0.0.1:{ports[0]}") is None
    assert loaded_as(ports[0]) not in ([], before)

    # Dagster asks its definitions of a process; where that is killed they are loaded again, by it or by us.
    before = loaded_as(ports[0])
    family = psutil.Process(process.pid).children(recursive=True)
    for holder in [child for child in family if {"api", "grpc"} <= {*child.cmdline()}]:
        holder.kill()
    deadline = time.monotonic() + 120
    while loaded_as(ports[0]) in ([], before):
        assert time.monotonic() < deadline, "the definitions were not loaded again"
        time.sleep(1)
    (tmp_path / "tiny.py").write_text("1 / 0")
    assert "did not load" in (servers._load_again(f"http://127.0.0.1:{ports[0]}") or "")

    # The same server as a tracking server: its own experiment, artifacts over HTTP.
    uri = f"http://127.0.0.1:{ports[1]}"
    tracking = Tracking(uri, tmp_path / "unused", "remote", uri, tmp_path / "client.lock")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / WEIGHTS_FILE).write_bytes(b"weights")
    with tracking.run("train", {}, {"size": 64}) as run:
        run.log_metrics({"psnr": 20.0, "nan": float("nan"), "inf": float("inf")})
        assert tracking.register_version(run, bundle, {WEIGHTS_TAG: "w"}, "over HTTP") == 1
        assert tracking.register_version(run, bundle, {WEIGHTS_TAG: "w"}, "over HTTP") == 1
    version = tracking.newest()
    assert version is not None
    assert version.metrics["psnr"] == 20.0
    copy = tmp_path / "copy" / "1"
    assert tracking.download(version, copy) == copy
    assert [path.name for path in copy.iterdir()] == [WEIGHTS_FILE]
    (copy / WEIGHTS_FILE).write_bytes(b"damaged")
    with pytest.raises(SettingsProblem):
        tracking.download(version, copy)
    assert (home / "mlartifacts").is_dir()
    assert not (tmp_path / "unused").exists()
    assert not (tmp_path / "mlruns").exists()

    family = psutil.Process(process.pid).children(recursive=True)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, f"after {time.monotonic() - begun:.0f} s"
    assert [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


def test_the_instance_takes_entries_of_other_files_in_place_of_its_own(tmp_path):
    launcher, storage = tmp_path / "launcher.yaml", tmp_path / "storage.yaml"
    launcher.write_text("run_launcher: {module: somewhere, class: Launcher}\n")
    storage.write_text("storage: {postgres: {postgres_url: {env: ADDRESS}}}\nrun_retries: {enabled: false}\n")
    settings = load_settings(home=tmp_path / "home", dagster_config=f"{launcher}, {storage}")
    written = yaml.safe_load((servers.prepare_dagster_home(settings) / "dagster.yaml").read_text())
    own = yaml.safe_load((Path(servers.__file__).parent / "dagster.yaml").read_text())
    assert written == {
        **own,
        "run_launcher": {"module": "somewhere", "class": "Launcher"},
        "storage": {"postgres": {"postgres_url": {"env": "ADDRESS"}}},
        "run_retries": {"enabled": False},
    }


@pytest.mark.parametrize("written", [None, "a word", "{torn: "])
def test_a_file_that_has_no_entries_for_the_instance_is_told(tmp_path, written):
    file = tmp_path / "storage.yaml"
    if written is not None:
        file.write_text(written)
    with pytest.raises(SettingsProblem, match=r"`dagster_config`: .*storage\.yaml"):
        servers.prepare_dagster_home(load_settings(home=tmp_path / "home", dagster_config=[file]))
