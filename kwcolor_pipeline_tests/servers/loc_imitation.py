"""A loopback imitation of the Library of Congress JSON API, with pictures made by PIL.

It can misbehave on request and counts what it was asked; it knows nothing of the crawler.
"""

import collections
import contextlib
import io
import json
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from PIL import Image

PAGE_SIZE = 25
COLLECTION = "/collections/test/"


def picture(number: int, size: tuple[int, int] = (48, 32), pil_format: str = "JPEG") -> bytes:
    """A small picture whose bytes differ for each number."""
    image = Image.new("RGB", size, (number * 37 % 256, number * 91 % 256, number % 256))
    for x in range(size[0]):
        image.putpixel((x, number % size[1]), (x * 5 % 256, 255 - x % 256, number % 256))
    buffer = io.BytesIO()
    image.save(buffer, pil_format)
    return buffer.getvalue()


def png_bomb(side: int = 30_000) -> bytes:
    """A grey PNG that says it has ``side`` x ``side`` pixels, and of which only the first rows are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(16 * (side + 1)))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@dataclass
class Photo:
    """One photograph of the collection, and how its file is answered."""

    id: str
    date: str = "1943"
    years: tuple[int, int] = (1943, 1943)
    data: bytes = b""
    content_type: str = "image/jpeg"
    behaviour: str = "good"
    passes_after: int = 1
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Library:
    """The collection, its faults, and the counts of what was asked."""

    photos: list[Photo] = field(default_factory=list)
    picture_seconds: float = 0.0
    held_up: dict[str, float] = field(default_factory=dict)
    """seconds that a request for a path is on its way before it is counted"""
    page_seconds: dict[int, float] = field(default_factory=dict)
    bad_pages: dict[int, str] = field(default_factory=dict)
    bad_page_times: int = 10**9
    robots: bytes | int = 404
    """the file, or a status"""
    redirects: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    """what the listing says of a photograph's file, instead of its address here"""
    url: str = ""
    asked: collections.Counter = field(default_factory=collections.Counter)
    complete: collections.Counter = field(default_factory=collections.Counter)
    times: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int, **facts) -> None:
        start = len(self.photos)
        self.photos += [Photo(f"p{number:04}", data=picture(number), **facts) for number in range(start, start + count)]

    def pictures_asked(self) -> dict[str, int]:
        with self.lock:
            return {path.split("/")[2]: count for path, count in self.asked.items() if path.startswith("/image/")}

    def forget(self) -> None:
        self.asked.clear()
        self.complete.clear()

    def listing(self, year: int | None, page: int) -> tuple[int, dict]:
        found = [photo for photo in self.photos if year is None or photo.years[0] <= year <= photo.years[1]]
        records = [_record(photo, self.url, self.addresses.get(photo.id)) for photo in found]
        if records:
            records.insert(
                1, {"id": f"{self.url}{COLLECTION}about/", "title": "About", "image_url": [f"{self.url}/icon.gif"]}
            )
        pages = -(-len(records) // PAGE_SIZE)
        if page > pages:
            return 404, {"status": 404, "title": "No results"}
        chosen = records[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        return 200, {"results": chosen, "pagination": {"current": page, "total": pages, "of": len(records)}}


def _record(photo: Photo, url: str, address: str | None) -> dict:
    landing = f"{url}/item/{photo.id}/"
    return {
        "id": landing,
        "url": landing,
        "title": f"Photograph {photo.id}",
        "date": photo.date,
        "image_url": [
            f"{url}/image/{photo.id}/thumb.jpg#h=10&w=15",
            f"{address or f'{url}/image/{photo.id}/full.jpg'}#h=320&w=480",
            f"{url}/image/{photo.id}/150.jpg#h=100&w=150",
        ],
        "item": {
            "title": f"Photograph {photo.id}",
            "date": photo.date,
            "creators": [{"title": "Palmer, Alfred T."}],
            "rights_advisory": ["No known restrictions on publication."],
        },
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    loc: Library

    def log_message(self, *args) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        library, parts = self.loc, urlsplit(self.path)
        time.sleep(library.held_up.get(parts.path, 0))
        with library.lock:
            library.asked[self.path] += 1
            nth = library.asked[self.path]
            library.times[self.path].append(time.monotonic())
            library.headers.append(dict(self.headers))
        if parts.path == COLLECTION:
            self._listing(parse_qs(parts.query), nth)
        elif parts.path in library.redirects:
            self._send(302, b"", "text/plain", {"Location": library.redirects[parts.path]})
        elif parts.path == "/robots.txt":
            status, rules = (library.robots, b"") if isinstance(library.robots, int) else (200, library.robots)
            self._send(status, rules, "text/plain")
        elif parts.path.startswith("/image/"):
            self._image(parts.path.split("/")[2], nth)
        else:
            self._send(404, b"{}", "application/json")

    def _listing(self, query: dict[str, list[str]], nth: int) -> None:
        page, year = int(query["sp"][0]), int(query["dates"][0][:4]) if "dates" in query else None
        time.sleep(self.loc.page_seconds.get(page, 0))
        fault = self.loc.bad_pages.get(page)
        if fault and nth <= self.loc.bad_page_times:
            status = {"html": 200, "denied": 403, "down": 503}[fault]
            return self._send(status, b"<html>sorry</html>", "text/html")
        status, body = self.loc.listing(year, page)
        return self._send(status, json.dumps(body).encode(), "application/json")

    def _image(self, name: str, nth: int) -> None:
        photo = next(photo for photo in self.loc.photos if photo.id == name)
        time.sleep(self.loc.picture_seconds)
        passing = nth <= photo.passes_after
        if photo.behaviour in ("429", "503") and passing:
            return self._send(int(photo.behaviour), b"later", "text/plain", {"Retry-After": "1"})
        if photo.behaviour == "500" and passing:
            return self._send(500, b"", "text/plain")
        if photo.behaviour == "404":
            return self._send(404, b"gone", "text/plain")
        if photo.behaviour in ("truncated", "reset") and passing:
            return self._break_off(photo.data, reset=photo.behaviour == "reset")
        if photo.behaviour == "endless":
            return self._endless()
        if photo.behaviour == "drip":
            return self._drip(photo.data)
        if photo.behaviour == "loop":
            return self._send(302, b"", "text/plain", {"Location": self.path})
        if photo.behaviour == "redirect":
            return self._send(301, b"", "text/plain", {"Location": photo.location})
        etag = f'"{photo.id}-{zlib.crc32(photo.data)}"'
        if self.headers.get("If-None-Match") == etag:
            return self._send(304, b"", photo.content_type, {"ETag": etag, **photo.headers})
        self._send(200, photo.data, photo.content_type, {"ETag": etag, **photo.headers})
        with self.loc.lock:
            self.loc.complete[name] += 1
        return None

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _break_off(self, data: bytes, reset: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            for _ in range(4000):
                self.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")

    def _drip(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            for place in range(len(data)):
                self.wfile.write(data[place : place + 1])
                time.sleep(0.05)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is killed, or has had enough, is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serve(library: Library, port: int = 0) -> Iterator[Library]:
    """Serve ``library`` on a free loopback port."""
    handler = type("Handler", (_Handler,), {"loc": library})
    server = _Server(("127.0.0.1", port), handler)
    library.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield library
    finally:
        server.shutdown()
        server.server_close()
