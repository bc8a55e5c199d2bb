"""The command `kwcolor …` in this process: exit code, output and errors."""

import sys
from pathlib import Path

import pytest

from kwcolor_pipeline import cli


def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """What `kwcolor` with these arguments ends with; what was printed before is left out."""
    monkeypatch.setattr(sys, "argv", ["kwcolor", *map(str, arguments)])
    capsys.readouterr()
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()
