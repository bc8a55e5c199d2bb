"""The server of `kwcolor studio`: where it listens, who is let in, and the folder that photographs pass through.

Belongs here: starting and stopping, limits, and headers. Gradio answers; uvicorn, which comes with it, listens.
"""

import functools
import os
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.stopping import stop_requests, wait_for

_LOOPBACK = "127.0.0.1"
#: Gradio's page has scripts and styles in itself; nothing at all may come from elsewhere or be sent there.
_HEADERS = {
    b"content-security-policy": b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'self'; "
    b"form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
_STOP_SECONDS = 5


def serve(
    settings: Settings,
    *,
    host: str = _LOOPBACK,
    port: int = 7860,
    open_page: bool = False,
    say: Callable[[str], None] = functools.partial(print, flush=True),
) -> int:
    """Serve the page until Ctrl-C, SIGTERM or the terminal's closing; then 0. ``port`` 0 takes any free one.

    Has to be called in the main thread. Raises SettingsProblem where Gradio is missing or the port cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="kwcolor-studio-") as folder, _listening(host, port) as listening:
        server = _server(settings, Path(folder).resolve(), host)
        address = f"http://{_LOOPBACK if host == '0.0.0.0' else host}:{listening.getsockname()[1]}"
        with stop_requests() as stop:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            try:
                say(f"Studio: {address}")
                if host not in (_LOOPBACK, "localhost", "::1"):
                    say("Everybody who reaches this machine can use it; there is no password.")
                say("Ctrl-C stops.")
                if open_page:
                    webbrowser.open(address)
                wait_for(stop)
            finally:
                server.should_exit = True
                thread.join(2 * _STOP_SECONDS)
    return 0


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise SettingsProblem(
            f"The studio cannot use {host} port {port} ({error}); stop what uses it or choose another with --port."
        ) from error


def _server(settings: Settings, folder: Path, host: str) -> Any:
    """A uvicorn server of the page, which writes below ``folder`` only."""
    # Before Gradio is imported, which reads them then.
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    try:
        import fastapi
        import gradio
        import uvicorn
    except ImportError as error:
        raise SettingsProblem(
            f"The studio needs another package ({error.name}); install kwcolor_pipeline[studio]."
        ) from error
    from kwcolor_pipeline.studio.colorizing import Studio
    from kwcolor_pipeline.studio.page import CSS, build_page, theme

    page = build_page(Studio(settings, folder), folder, settings.studio.max_megabytes)
    page.queue(max_size=settings.studio.max_waiting, default_concurrency_limit=1)
    application = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gradio.mount_gradio_app(
        application,
        page,
        "/",
        allowed_paths=[],
        max_file_size=settings.studio.max_megabytes * 2**20,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=CSS,
    )
    guarded = Guard(application, names={host, _LOOPBACK, "localhost"} if host in (_LOOPBACK, "localhost") else None)
    config = uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=_STOP_SECONDS)
    return uvicorn.Server(config)


class Guard:
    """An ASGI application in front of another: who asks under a foreign name, or for a web address, is refused.

    ``names`` are those under which this machine is asked; None is any. A page elsewhere could otherwise give its own
    name this machine's address (DNS rebinding). Gradio would fetch web addresses for whoever asks.
    """

    def __init__(self, application: Any, names: set[str] | None) -> None:
        self._application = application
        self._names = names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or pass it on and add the headers."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS.items()]
            await send(message)

        if self._is_foreign(scope):
            await send_with_headers({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"This is not answered here."})
            return
        await self._application(scope, receive, send_with_headers)

    def _is_foreign(self, scope: Any) -> bool:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        if self._names is not None and host.rpartition(":")[0] not in self._names and host not in self._names:
            return True
        return "://" in scope["path"] or ":/" in scope["path"]
