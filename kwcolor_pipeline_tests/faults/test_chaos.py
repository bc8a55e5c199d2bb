"""Every fault once, for a few seconds, in the whole graph under `kwcolor ui`; `make chaos` goes on for half an hour."""

import os
from pathlib import Path

import pytest

from kwcolor_pipeline_tests.faults.chaos import FAULTS, Report, compare, once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("KWCOLOR_TEST_CHAOS" not in os.environ, reason="takes ten minutes; set KWCOLOR_TEST_CHAOS"),
]


def test_every_fault_once_changes_nothing(tmp_path: Path) -> None:
    report = Report()
    compare(tmp_path / "world", once(seed=1), report)
    assert report.counts() == dict.fromkeys(FAULTS, 1)
    assert report.runs["SUCCESS"] > 0
    assert report.runs["FAILURE"] > 0, "no run met a fault"
    assert report.compared > 80
    assert report.differences == []
