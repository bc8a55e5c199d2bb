"""Who may ask the studio's server, and what keeps it from starting."""

import asyncio
import importlib.util
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.studio.server import Guard, serve


async def _page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"the page"})


def answer(guard: Guard, host: str, path: str = "/") -> tuple[int, dict[bytes, bytes]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def ask() -> None:
        await guard({"type": "http", "path": path, "headers": [(b"host", host.encode())]}, None, send)

    asyncio.run(ask())
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("127.0.0.1:7860", "/", 200),
        ("localhost", "/gradio_api/file=/tmp/a.jpg", 200),
        ("photographs.example:7860", "/", 403),
        ("127.0.0.1.example:7860", "/", 403),
        ("", "/", 403),
        ("127.0.0.1:7860", "/gradio_api/file=https://archive.example/a.jpg", 403),
        ("127.0.0.1:7860", "/gradio_api/proxy=https://archive.example/a.jpg", 403),
        ("127.0.0.1:7860", "/gradio_api/file=http:/archive.example/a.jpg", 403),
    ],
)
def test_foreign_names_and_web_addresses_are_refused(host: str, path: str, status: int) -> None:
    found, headers = answer(Guard(_page, {"127.0.0.1", "localhost"}), host, path)
    assert found == status
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http" not in headers[b"content-security-policy"]


def test_opened_to_the_network_it_answers_to_any_name() -> None:
    assert answer(Guard(_page, None), "attic.local:7860")[0] == 200
    assert answer(Guard(_page, None), "attic.local:7860", "/gradio_api/file=https://archive.example/")[0] == 403


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsProblem, match=rf"cannot use 127.0.0.1 port {port} .* --port"):
            serve(Settings(home=tmp_path), port=port)


def test_without_gradio_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # serve sets them; what was before comes back
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SettingsProblem, match=r"install kwcolor_pipeline\[studio\]"):
        serve(Settings(home=tmp_path), port=0)


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="Gradio, the extra studio, is not installed")
def test_the_page_names_nothing_that_a_browser_would_fetch_elsewhere() -> None:
    from kwcolor_pipeline.studio.page import CSS, theme

    assert theme()._stylesheets == []
    assert "http" not in "".join(theme()._font_css) + CSS
