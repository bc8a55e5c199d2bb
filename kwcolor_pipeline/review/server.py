"""The loopback server of `kwcolor review`: the page, pages of photographs as JSON, pictures, and decisions.

Belongs here: HTTP, and what keeps other people and other pages out. Only this machine reaches the
server; names that lead here from outside are refused (DNS rebinding), and a decision has to come
from the page itself, which carries a token.
"""

import contextlib
import functools
import hmac
import importlib.resources
import json
import logging
import re
import secrets
import shlex
import socketserver
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kwcolor_pipeline.evaluation import pages
from kwcolor_pipeline.photos.decisions import DECISIONS
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.review.photographs import LARGEST_PAGE, VIEWS, Photographs
from kwcolor_pipeline.review.thumbnails import Thumbnails
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.stopping import stop_requests, wait_for

log = logging.getLogger(__name__)

#: The header that carries the page's token.
TOKEN_HEADER = "X-Kwcolor-Token"
#: Longest body of a request in bytes; a decision has about 100.
MAX_BODY = 4096

_ADDRESS = "127.0.0.1"
_PHOTO_ID = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_IDLE_SECONDS = 60
_MAX_WORDS = 200
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_JSON = "application/json; charset=utf-8"


def serve(
    settings: Settings,
    *,
    port: int = 8765,
    open_page: bool = False,
    say: Callable[[str], None] = functools.partial(print, flush=True),
) -> int:
    """Serve the page until Ctrl-C, SIGTERM or the terminal's closing; then 0.

    Has to be called in the main thread. Raises SettingsProblem where there is nothing to review yet,
    the decisions cannot be read, or the port cannot be used.
    """
    server = ReviewServer(settings, port)
    with stop_requests() as stop:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            say(f"Review: {server.address}")
            say(f"Decisions: {server.photographs.decisions_path}")
            say("Ctrl-C stops.")
            if open_page:
                webbrowser.open(server.address)
            wait_for(stop)
        finally:
            server.shutdown()
            server.server_close()
            server.photographs.finish()
    return 0


class ReviewServer(ThreadingHTTPServer):
    """Listens on this machine's loopback address only. ``port`` 0 takes any free one."""

    daemon_threads = True

    def __init__(self, settings: Settings, port: int) -> None:
        self.photographs = Photographs(settings)
        self.thumbnails = Thumbnails(PhotoStore(settings.paths.photos))
        self.token = secrets.token_urlsafe(32)
        try:
            super().__init__((_ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise SettingsProblem(
                f"The review page cannot use port {port} ({error}); stop what uses it or choose another with --port."
            ) from error
        names = [f"{name}:{self.server_port}" for name in (_ADDRESS, "localhost")]
        self.hosts = {*names, *((_ADDRESS, "localhost") if self.server_port == 80 else ())}
        self.files = self._files()

    @property
    def address(self) -> str:
        return f"http://{_ADDRESS}:{self.server_port}"

    def server_bind(self) -> None:
        # HTTPServer asks the network for this machine's name, which nobody needs here.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, (ConnectionError, TimeoutError)):
            log.debug("a reader hung up: %s", error)
        else:
            log.error("a request could not be answered", exc_info=error)

    def _files(self) -> dict[str, tuple[str, bytes]]:
        """The page and what it consists of, by path."""
        room = importlib.resources.files("kwcolor_pipeline.review")
        page = pages.environment().from_string(room.joinpath("page.html.j2").read_text(encoding="utf-8"))
        style = pages.environment().get_template("page.css.j2").render() + room.joinpath("page.css").read_text("utf-8")
        html = page.render(
            token=self.token,
            token_header=TOKEN_HEADER,
            decisions=self.photographs.decisions_path,
            apply_command="kwcolor run",
            apply_only=shlex.join(["kwcolor", "run", "--select", "curated_photos"]),
        )
        return {
            "/": ("text/html; charset=utf-8", html.encode(errors="replace")),
            "/page.css": ("text/css; charset=utf-8", style.encode()),
            "/page.js": ("text/javascript; charset=utf-8", room.joinpath("page.js").read_bytes()),
        }


class _Refused(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: HTTPStatus, says: str) -> None:
        super().__init__(says)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    server_version = "kwcolor"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, find: Callable[[], tuple[str, bytes]]) -> None:
        try:
            self._require_this_machine()
            kind, body = find()
            status = HTTPStatus.OK
        except _Refused as refused:
            status, (kind, body) = refused.status, _json({"error": str(refused)})
        except SettingsProblem as problem:
            status, (kind, body) = HTTPStatus.SERVICE_UNAVAILABLE, _json({"error": str(problem)})
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "private, max-age=600" if kind == "image/webp" else "no-store")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status != HTTPStatus.OK:
            # What is left of a refused request's body must not be read as the next request.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _require_this_machine(self) -> None:
        if not self.path.startswith("/"):
            raise _Refused(HTTPStatus.BAD_REQUEST, "An address starts with a slash here.")
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, f"Only {self.server.address} is answered here.")

    def _get(self) -> tuple[str, bytes]:
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            raise _Refused(HTTPStatus.BAD_REQUEST, "Only decisions are sent here, with POST.")
        parts = urlsplit(self.path)
        if parts.path in self.server.files:
            return self.server.files[parts.path]
        match parts.path.split("/"):
            case ["", "api", "photographs"]:
                return _json(self._page(parts.query))
            case ["", "api", "photographs", photo_id]:
                with _known_photographs():
                    return _json(self.server.photographs.details(_photo_id(photo_id)))
            case ["", "thumbnails", photo_id]:
                with _known_photographs():
                    box = self.server.photographs.box(_photo_id(photo_id))
                return "image/webp", self.server.thumbnails.thumbnail(photo_id, box)
            case ["", "pictures", photo_id]:
                with _known_photographs():
                    self.server.photographs.box(_photo_id(photo_id))
                return "image/webp", self.server.thumbnails.picture(photo_id)
        raise _Refused(HTTPStatus.NOT_FOUND, "There is nothing at this address.")

    def _page(self, query: str) -> dict[str, Any]:
        try:
            asked = {name: values[-1] for name, values in parse_qs(query, max_num_fields=10).items()}
        except ValueError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"The query cannot be read: {error}.") from error
        view, words = asked.get("view", "review"), asked.get("q", "")
        if view not in VIEWS:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"view is one of {', '.join(VIEWS)}.")
        if len(words) > _MAX_WORDS:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"q has at most {_MAX_WORDS} letters.")
        offset, limit = _number(asked, "offset", 0), _number(asked, "limit", 60)
        if not 1 <= limit <= LARGEST_PAGE:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"limit is from 1 to {LARGEST_PAGE}.")
        after = asked.get("after", "")
        with _known_photographs():
            return self.server.photographs.page(
                view, asked.get("reason", ""), words, after and _photo_id(after), offset, limit
            )

    def _post(self) -> tuple[str, bytes]:
        self._require_own_page()
        if urlsplit(self.path).path != "/api/decisions":
            raise _Refused(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
        asked = self._body()
        if not isinstance(asked, dict) or set(asked) != {"photo_id", "decision"} or asked["decision"] not in DECISIONS:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"Send photo_id and decision, one of {', '.join(DECISIONS)}.")
        with _known_photographs():
            return _json(self.server.photographs.decide(_photo_id(asked["photo_id"]), asked["decision"]))

    def _require_own_page(self) -> None:
        origin = self.headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{self.headers['Host'].strip().lower()}":
            raise _Refused(HTTPStatus.FORBIDDEN, "Only the review page decides.")
        token = self.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.FORBIDDEN, "The page is from an earlier start of `kwcolor review`; reload it.")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")

    def _body(self) -> Any:
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or not _NUMBER.fullmatch(lengths[0]) or "Transfer-Encoding" in self.headers:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Send Content-Length once, and the body in one piece.")
        if int(lengths[0]) > MAX_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request has at most {MAX_BODY} bytes.")
        body = self.rfile.read(int(lengths[0]))
        if len(body) < int(lengths[0]):
            raise ConnectionError("the body ended early")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from error

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        log.debug(format, *args)


def _json(value: Any) -> tuple[str, bytes]:
    return _JSON, json.dumps(value).encode()


def _number(asked: dict[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not _NUMBER.fullmatch(text):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number.")
    return int(text)


def _photo_id(text: Any) -> str:
    if not isinstance(text, str) or not _PHOTO_ID.fullmatch(text):
        raise _Refused(HTTPStatus.BAD_REQUEST, "A photograph's id has 64 hexadecimal digits.")
    return text


@contextlib.contextmanager
def _known_photographs() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise _Refused(HTTPStatus.NOT_FOUND, "There is no such photograph among the curated ones.") from error
