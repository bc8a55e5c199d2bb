import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kwcolor_pipeline.photos.decisions import decisions_path, read_decisions
from kwcolor_pipeline.review.server import MAX_BODY, ReviewServer, serve
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, scene
from kwcolor_pipeline_tests.review.homes import Client, curated, small_home

SERVING = """
import sys
from kwcolor_pipeline.review.server import serve
from kwcolor_pipeline.settings import load_settings
sys.exit(serve(load_settings(home=sys.argv[1]), port=0))
"""


@pytest.fixture
def home(tmp_path: Path) -> tuple[PhotoHome, list[str]]:
    return small_home(tmp_path / "home")


@contextmanager
def serving(home: PhotoHome) -> Iterator[Client]:
    server = ReviewServer(home.settings, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield Client(server)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(home: tuple[PhotoHome, list[str]]) -> Iterator[Client]:
    with serving(home[0]) as client:
        yield client


@pytest.fixture
def ids(home: tuple[PhotoHome, list[str]]) -> list[str]:
    return home[1]


def raw(client: Client, request: bytes) -> bytes:
    """What the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", client.server.server_port), timeout=30) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def nothing_decided(client: Client) -> bool:
    return not client.server.photographs.decisions_path.exists()


def test_the_page_is_whole_and_may_load_nothing_from_elsewhere(client: Client) -> None:
    status, headers, body = client.ask("/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    page = body.decode()
    assert client.server.token in page
    assert str(client.server.photographs.decisions_path) in page
    assert "kwcolor run --select curated_photos" in page
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|\sstyle=", page)
    for name in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        status, headers, body = client.ask(name)
        assert (status, headers["X-Content-Type-Options"], len(body) > 500) == (200, "nosniff", True)
    assert "innerHTML" not in client.ask("/page.js")[2].decode()


def test_photographs_come_in_pages(client: Client, ids: list[str]) -> None:
    first = client.get("/api/photographs?view=all&limit=3")
    assert (len(first["photographs"]), first["remaining"]) == (3, 1)
    rest = client.get(f"/api/photographs?view=all&limit=3&after={first['photographs'][-1]['photo_id']}")
    assert (len(rest["photographs"]), rest["remaining"]) == (1, 0)
    assert {photo["photo_id"] for photo in first["photographs"] + rest["photographs"]} == set(ids)
    assert client.get("/api/photographs?view=all&offset=3")["photographs"] == rest["photographs"]
    assert len(client.get("/api/photographs")["photographs"]) == 2
    found = client.get("/api/photographs?view=rejected&reason=not_colour&q=bridge")["photographs"]
    assert [photo["title"] for photo in found] == ["Grey bridge"]
    assert found[0]["why"].startswith("Hardly any colour. Perhaps grey (5.9; the bound is 6)")
    assert client.get(f"/api/photographs/{ids[0]}")["title"] == "Kept tank"


@pytest.mark.parametrize("kind", ["thumbnails", "pictures"])
def test_pictures_are_sent_small(client: Client, ids: list[str], kind: str) -> None:
    status, headers, body = client.ask(f"/{kind}/{ids[0]}?box=1")
    assert (status, headers["Content-Type"], body[8:12]) == (200, "image/webp", b"WEBP")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/photographs?view=none", 400),
        ("/api/photographs?limit=0", 400),
        ("/api/photographs?limit=201", 400),
        ("/api/photographs?limit=-1", 400),
        ("/api/photographs?limit=ten", 400),
        ("/api/photographs?offset=1e3", 400),
        ("/api/photographs?offset=99999999999", 400),
        ("/api/photographs?after=../../etc/passwd", 400),
        ("/api/photographs?q=" + "x" * 201, 400),
        ("/api/photographs?" + "a=1&" * 50, 400),
        ("/api/photographs?after=" + "f" * 64, 404),
        ("/api/photographs/" + "f" * 64, 404),
        ("/thumbnails/" + "f" * 64, 404),
        ("/pictures/" + "f" * 64, 404),
        ("/thumbnails/../../../../etc/passwd", 404),
        ("/thumbnails/..%2f..%2fetc%2fpasswd", 400),
        ("/thumbnails/" + "F" * 64, 400),
        ("/thumbnails/" + "f" * 64 + "%00", 400),
        ("/thumbnails/", 400),
        ("/../server.py", 404),
        ("/server.py", 404),
        ("/page.html.j2", 404),
        ("/nothing", 404),
    ],
)
def test_addresses_that_lead_nowhere_are_refused_in_a_sentence(client: Client, path: str, status: int) -> None:
    found, headers, body = client.ask(path)
    assert (found, headers["Content-Type"]) == (status, "application/json; charset=utf-8")
    assert json.loads(body)["error"].endswith(".")


def test_only_photographs_of_the_table_are_opened(client: Client, home: tuple[PhotoHome, list[str]]) -> None:
    stranger = home[0].store.put(encoded(scene(77)), "JPEG")
    for kind in ("thumbnails", "pictures"):
        assert client.ask(f"/{kind}/{stranger}")[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", None, ""]
)
def test_other_names_of_this_machine_are_not_answered(client: Client, ids: list[str], host: str | None) -> None:
    named = host and host.format(port=client.server.server_port)
    for path in ("/", "/page.js", "/api/photographs", f"/thumbnails/{ids[0]}"):
        status, _, body = client.ask(path, Host=named)
        assert status in (400, 403)
        assert client.server.token.encode() not in body
    assert client.ask("/api/decisions", {"photo_id": ids[0], "decision": "keep"}, Host=named)[0] in (400, 403)
    assert nothing_decided(client)


def test_localhost_is_this_machine(client: Client) -> None:
    assert client.ask("/", Host=f"LocalHost:{client.server.server_port}")[0] == 200


def test_two_hosts_or_a_foreign_address_are_refused(client: Client) -> None:
    host = f"Host: 127.0.0.1:{client.server.server_port}\r\n".encode()
    for request in (
        b"GET / HTTP/1.1\r\n" + host + b"Host: evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 5\r\n\r\nGET /",
        b"GET / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        answer = raw(client, request)
        assert answer.split()[1] in (b"400", b"403")
        assert client.server.token.encode() not in answer
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_Kwcolor_Token": None}, 403),
        ({"X_Kwcolor_Token": "x" * 43}, 403),
        ({"X_Kwcolor_Token": "ä"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": None}, 415),
        ({"Content_Length": None}, 411),
        ({"Content_Length": "-5"}, 411),
        ({"Content_Length": "5, 5"}, 411),
        ({"Transfer_Encoding": "chunked"}, 411),
        ({"Content_Length": str(MAX_BODY + 1)}, 413),
        ({"Content_Length": "99999999999999999999"}, 411),
    ],
    ids=str,
)
def test_only_the_page_itself_decides(
    client: Client, ids: list[str], headers: dict[str, str | None], status: int
) -> None:
    found, _, body = client.ask("/api/decisions", {"photo_id": ids[0], "decision": "keep"}, **headers)
    assert (found, json.loads(body)["error"].endswith(".")) == (status, True)
    assert nothing_decided(client)


def test_the_page_decides_with_its_origin(client: Client, ids: list[str]) -> None:
    asked = {"photo_id": ids[0], "decision": "reject"}
    status, _, _ = client.ask("/api/decisions", asked, Origin=f"http://127.0.0.1:{client.server.server_port}")
    assert status == 200
    assert read_decisions(client.server.photographs.decisions_path) == {ids[0]: "reject"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 4000, 400),
        (b'{"photo_id": "%s"}', 400),
        (b'{"photo_id": "%s", "decision": "perhaps"}', 400),
        (b'{"photo_id": "%s", "decision": ["keep"]}', 400),
        (b'{"photo_id": "%s", "decision": "keep", "note": "x"}', 400),
        (b'{"photo_id": 1, "decision": "keep"}', 400),
        (b'{"photo_id": "../../x", "decision": "keep"}', 400),
        (b'{"photo_id": "%s\\n%s,keep", "decision": "keep"}', 400),
        (b'{"photo_id": "' + b"f" * 64 + b'", "decision": "keep"}', 404),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_decision_changes_nothing(client: Client, ids: list[str], body: bytes, status: int) -> None:
    found, _, answer = client.ask("/api/decisions", body.replace(b"%s", ids[0].encode()))
    assert (found, json.loads(answer)["error"].endswith(".")) == (status, True)
    assert nothing_decided(client)


def test_decisions_go_to_their_address_with_post(client: Client, ids: list[str]) -> None:
    asked = {"photo_id": ids[0], "decision": "keep"}
    assert client.ask("/api/photographs", asked)[0] == 404
    assert client.ask("/api/decisions")[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert client.ask("/api/decisions", method=method)[0] == 501
    assert nothing_decided(client)


def test_a_decision_lands_at_once_in_a_file_as_others_wrote_it(client: Client, ids: list[str]) -> None:
    path = client.server.photographs.decisions_path
    path.parent.mkdir()
    before = b"\xef\xbb\xbfwho,photo_id,decision,decided_at\r\nme," + ids[1].encode() + b",keep,yesterday\r\n"
    path.write_bytes(before)
    told = client.decide(ids[2], "reject")
    assert told["photograph"]["decision"] == "reject"
    assert told["counts"] == {"review": 0, "rejected": 2, "kept": 2, "decided": 2, "all": 4}
    written = path.read_bytes()
    assert written.startswith(before)
    assert re.fullmatch(rb",[0-9a-f]{64},reject,2[0-9T:+-]+\r\n", written.removeprefix(before))


def test_a_file_that_is_broken_meanwhile_is_said_and_left_alone(client: Client, ids: list[str]) -> None:
    path = client.server.photographs.decisions_path
    path.parent.mkdir()
    path.write_text(f"photo_id,decision\n{ids[0]},perhaps\n")
    status, _, body = client.ask("/api/decisions", {"photo_id": ids[1], "decision": "keep"})
    assert (status, "line 2" in json.loads(body)["error"]) == (503, True)
    assert client.ask("/api/photographs")[0] == 503
    assert path.read_text() == f"photo_id,decision\n{ids[0]},perhaps\n"
    path.unlink()
    assert client.ask("/api/photographs")[0] == 200


def test_no_decision_is_lost_when_many_come_at_once(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    ids = [home.add(encoded(scene(seed, (96, 72)))) for seed in range(24)]
    curated(home)
    with serving(home) as client:
        wanted = {photo_id: ("keep", "reject")[number % 2] for number, photo_id in enumerate(ids)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: client.decide(*item), wanted.items()))
        path = decisions_path(home.settings)
        assert read_decisions(path) == wanted
        assert len(path.read_text().splitlines()) == 1 + len(ids)


def test_a_reader_that_hangs_up_does_no_harm(client: Client, ids: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    port = client.server.server_port
    head = f"POST /api/decisions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Kwcolor-Token: {client.server.token}\r\n"
    for request in (
        f"GET /page.js HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n" * 50,
        f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        "GET / HT",
        "",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(request.encode())
            # Closing with a reset, not in an orderly way.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert client.decide(ids[0], "keep")["photograph"]["decision"] == "keep"
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_that_is_taken_or_impossible_is_said(client: Client, home: tuple[PhotoHome, list[str]]) -> None:
    for port in (client.server.server_port, 70_000):
        with pytest.raises(SettingsProblem, match=f"port {port} .*--port"):
            serve(home[0].settings, port=port)


def test_broken_decisions_are_said_before_anything_is_served(home: tuple[PhotoHome, list[str]]) -> None:
    path = decisions_path(home[0].settings)
    path.parent.mkdir()
    path.write_text("nonsense\n")
    with pytest.raises(SettingsProblem, match="photo_id and decision"):
        serve(home[0].settings, port=0)


def test_the_command_says_in_one_sentence_why_it_cannot_start(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")}
    ended = subprocess.run(
        [Path(sys.executable).with_name("kwcolor"), "review"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | {"KWCOLOR_HOME": str(tmp_path / "home")},
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Could not start: There are no curated photographs to review yet; ")
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_it_listens_on_the_loopback_address_only(client: Client) -> None:
    assert client.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_in_order_also_in_the_background(
    home: tuple[PhotoHome, list[str]], tmp_path: Path, number: signal.Signals
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")}
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", SERVING, str(home[0].settings.home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    try:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(3)]
        assert re.fullmatch(r"Review: http://127\.0\.0\.1:\d+\n", told[0])
        assert told[1:] == [f"Decisions: {decisions_path(home[0].settings)}\n", "Ctrl-C stops.\n"]
        port = int(told[0].rpartition(":")[2])
        # A connection that idles must not hold it up.
        with socket.create_connection(("127.0.0.1", port), timeout=30):
            process.send_signal(number)
            rest, _ = process.communicate(timeout=60)
        assert (process.returncode, rest) == (0, "")
    finally:
        process.kill()
        process.wait()
