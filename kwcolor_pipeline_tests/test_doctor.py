import http.server
import importlib.metadata
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kwcolor_pipeline import doctor
from kwcolor_pipeline.doctor import Finding, diagnose
from kwcolor_pipeline.settings import load_settings


def findings(online: bool = False, **settings: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(load_settings(**settings), online=online)}


@pytest.fixture
def archive() -> Iterator[tuple[str, list[str]]]:
    """A loopback address that answers, and the User-Agents that it saw."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["User-Agent"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_a_fresh_home_is_sound_and_stays_uncreated(tmp_path: Path) -> None:
    found = findings(home=tmp_path / "a" / "home")
    for name in ["Python", "packages", "device", "home", "MLflow", "Dagster", "encoder weights", "source sample"]:
        assert found[name].ok is True, found[name]
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_found_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"rubbish " * 100)
    runs = tmp_path / "dagster" / "storage" / "runs.db"
    runs.parent.mkdir(parents=True)
    runs.write_bytes(b"rubbish " * 100)
    sources = f"loc,folder:{tmp_path / 'none'},folder:{tmp_path / 'dagster'},bogus"
    found = findings(home=tmp_path, sources=sources, device="cuda:7", contact=None)
    wrong = {name for name, finding in found.items() if finding.ok is False}
    assert wrong >= {"MLflow", "Dagster", "device", "source bogus", "source loc"}
    assert wrong >= {f"source folder:{tmp_path / 'none'}", f"source folder:{tmp_path / 'dagster'}"}
    assert str(runs) in found["Dagster"].says
    assert "KWCOLOR_CONTACT" in str(found["source loc"].remedy)


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = findings(home=tmp_path / "file")["home"]
    assert home.ok is False
    assert "KWCOLOR_HOME" in str(home.remedy)


def test_pictures_of_a_folder_are_counted(tmp_path: Path) -> None:
    for name in ["1943/a.JPG", "1943/b.tiff", "index.csv"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = findings(home=tmp_path / "home", sources=f"folder:{tmp_path}")[f"source folder:{tmp_path}"]
    assert found.ok is True
    assert found.says.startswith("2 pictures")


def test_an_archive_is_only_asked_when_online(tmp_path: Path, archive: tuple[str, list[str]]) -> None:
    address, seen = archive
    settings = {"home": tmp_path, "sources": "loc", "contact": "me@example.org", "loc": {"base_url": address}}
    assert findings(**settings)["source loc"].ok is None
    assert seen == []
    assert findings(online=True, **settings)["source loc"].ok is True
    assert len(seen) == 1
    assert "(me@example.org)" in seen[0]
    settings["loc"] = {"base_url": "http://127.0.0.1:9"}
    assert findings(online=True, **settings)["source loc"].ok is False


def test_packages_that_are_missing_or_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ["numpy>=999", "no-such-package", "pillow", "pytest; extra == 'dev'", "absent; python_version < '3'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: requirements)
    finding = doctor._packages()
    assert finding.ok is False
    assert "numpy>=999" in finding.says
    assert "no-such-package is missing" in finding.says
    assert "pillow" not in finding.says
    assert "absent" not in finding.says


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def breaks() -> Finding:
        raise RuntimeError("no such sensor")

    monkeypatch.setattr(doctor, "_memory", breaks)
    found = findings(home=tmp_path)
    assert found["memory"].ok is False
    assert "no such sensor" in found["memory"].says
    assert found["disk"].name == "disk"
