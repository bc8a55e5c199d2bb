"""An archive on the loopback address for `crawl.py`: listing pages and pictures, slow or late on request.

Belongs here: what is served and counted. It runs in a process of its own, so that it shares no
interpreter lock with a client, and reads requests in the plainest way, so that it takes little of the
cores: `python crawl_server.py ARGUMENTS`, where ARGUMENTS is the JSON of `Archive`'s fields. It prints its
port, and ends when its standard input is closed.
"""

import json
import socketserver
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

_KINDS = {".png": "image/png", ".webp": "image/webp", ".tif": "image/tiff", ".tiff": "image/tiff"}


class Answering(Protocol):
    """What is served: it is told its own address, and answers a request's path and query."""

    url: str

    def answer(self, target: str) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        ...


@dataclass
class Archive:
    """Pictures of a folder in listing pages, and counts of what was asked."""

    folder: str
    page_size: int
    picture_seconds: float = 0.0
    """Time that each picture's answer waits"""
    late_page: int | None = None
    late_seconds: float = 0.0
    """How long after it is first asked for the late page is ready; asking again does not make it later"""
    counts: dict[str, int] = field(default_factory=lambda: {"pages": 0, "pictures": 0, "others": 0, "most_at_once": 0})

    def __post_init__(self) -> None:
        self._files = sorted(Path(self.folder).iterdir())
        self._data = {f"/picture/{path.name}": path.read_bytes() for path in self._files}
        self._lock = threading.Lock()
        self._at_once = 0
        self._late_until: float | None = None
        self.url = ""

    def answer(self, target: str) -> tuple[int, str, bytes]:
        """Status, media type and body for a request's path and query."""
        parts = urlsplit(target)
        if parts.path in self._data:
            return self._picture(parts.path)
        if parts.path == "/listing":
            return self._page(int(parse_qs(parts.query)["page"][0]))
        if parts.path == "/counts":
            return 200, "application/json", json.dumps(self.counts).encode()
        self._count("others")
        return 404, "text/plain", b"no such thing"

    def _picture(self, path: str) -> tuple[int, str, bytes]:
        with self._lock:
            self.counts["pictures"] += 1
            self._at_once += 1
            self.counts["most_at_once"] = max(self.counts["most_at_once"], self._at_once)
        time.sleep(self.picture_seconds)
        with self._lock:
            self._at_once -= 1
        return 200, _KINDS.get(Path(path).suffix, "image/jpeg"), self._data[path]

    def _page(self, page: int) -> tuple[int, str, bytes]:
        self._count("pages")
        if page == self.late_page:
            self._wait_for_late_page()
        chosen = self._files[(page - 1) * self.page_size : page * self.page_size]
        pictures = [{"id": path.stem, "url": f"{self.url}/picture/{path.name}"} for path in chosen]
        return 200, "application/json", json.dumps({"page": page, "pictures": pictures}).encode()

    def _wait_for_late_page(self) -> None:
        with self._lock:
            if self._late_until is None:
                self._late_until = time.monotonic() + self.late_seconds
        time.sleep(max(0.0, self._late_until - time.monotonic()))

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


class _Handler(socketserver.StreamRequestHandler):
    """GET requests of one connection, which stays open between them."""

    disable_nagle_algorithm = True
    archive: Answering

    def handle(self) -> None:
        try:
            while request := self.rfile.readline():
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                self._send(*self.archive.answer(request.split()[1].decode("ascii")))
        except ConnectionError:
            pass  # the client has given up, as icrawler does after five seconds

    def _send(self, status: int, kind: str, body: bytes) -> None:
        head = f"HTTP/1.1 {status} Answer\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode("ascii") + body)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


def serve(archive: Answering, port: int = 0) -> None:
    """Serve ``archive`` until standard input is closed; its address is printed. Port 0 is any that is free."""
    with _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"archive": archive})) as server:
        archive.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(archive.url, flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    serve(Archive(**json.loads(sys.argv[1])))
