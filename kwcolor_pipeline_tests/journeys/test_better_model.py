"""Three models of different training length, really trained: which becomes champion, and what people see of it.

Through `kwcolor run` on parts of real photographs, and MLflow's own pages in a real Chromium.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from kwcolor_pipeline.evaluation.comparison import GAN
from kwcolor_pipeline.evaluation.evaluate import Evaluation
from kwcolor_pipeline_tests.journeys.conftest import CHROMIUM
from kwcolor_pipeline_tests.journeys.photographs import PhotoFolder
from kwcolor_pipeline_tests.journeys.user_interface import Visit, environment, kwcolor, running_ui

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]

#: Steps of pretraining: hardly any, many, and even fewer.
STEPS = (8, 400, 4)
#: With nothing but ImageNet's encoder to begin with: after so few steps the starter would be as good as after many.
FROM_SCRATCH = {"PRETRAIN_START": "none", "PRETRAIN_LR": "1e-3"}
#: Half as many parameters as the starter has, for the time that this takes.
SMALL = {"KWCOLOR_TRAINING": '{"generator_widths": [128, 96, 64, 48]}'}


def trained(home: Path, photographs: Path, steps: int) -> dict[str, Any]:
    """What the report's files say after a run with so many steps."""
    sources = {"KWCOLOR_SOURCES": f"folder:{photographs}", "KWCOLOR_KOREAN_WAR_SOURCES": "sample"}
    done = subprocess.run(
        kwcolor("run"),
        env=environment(home, PRETRAIN_MIN_STEPS=str(steps), **FROM_SCRATCH) | sources | SMALL,
        cwd=home.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = home / "reports" / "evaluation_report"
    measured = Evaluation.from_json(json.loads((report / "metrics.json").read_text())["evaluation"])
    result = json.loads((report / "result.json").read_text())["summary"]
    return {"evaluation": measured, "verdict": result["verdict"], "page": (report / "report.html").read_text()}


def test_the_better_model_becomes_champion_and_a_worse_one_does_not(
    tmp_path: Path, chromium: Browser, screenshots: Path
) -> None:
    # So many that the difference is sure on those of them that are kept for the test.
    PhotoFolder(tmp_path / "photographs", cells=6).add({"1943": 280})
    home = tmp_path / "home"
    short, long, hardly = (trained(home, tmp_path / "photographs", steps) for steps in STEPS)

    assert short["verdict"]["promote"]
    difference = long["evaluation"].difference("ciede2000", GAN, "champion, version 1")
    assert difference.high < 0
    assert long["verdict"]["promote"]
    assert "nearer to the real colours than" in long["page"]
    assert "It replaces version 1" in long["page"]
    assert hardly["evaluation"].difference("ciede2000", GAN, "champion, version 2").value > 0
    assert not hardly["verdict"]["promote"]
    assert "version 2 stays champion" in hardly["page"].lower()

    with running_ui(home) as ui:
        window = Visit(chromium, screenshots)
        page = window.page
        page.goto(f"{ui.mlflow}/#/models/kwcolor")
        rows = page.get_by_role("row")
        for number in (1, 2, 3):
            row = rows.filter(has=page.get_by_role("link", name=f"Version {number}", exact=True))
            expect(row).to_contain_text({1: "demo", 2: "champion", 3: "challenger"}[number])
            row.get_by_role("checkbox").check()
        window.shoot("mlflow-three-versions")
        page.get_by_role("button", name="Compare", exact=True).click()
        expect(page.get_by_text("Comparing 3 Versions")).to_be_visible()
        row = page.get_by_role("row").filter(has=page.get_by_text("test_ciede2000", exact=True))
        expect(row).to_be_visible()
        shown = [float(text) for text in row.inner_text().split() if re.fullmatch(r"[\d.]+", text)]
        assert len(shown) == 3
        measured = [one["evaluation"].values(GAN, "ciede2000") for one in (short, long, hardly)]
        assert sorted(shown) == pytest.approx(sorted(sum(values) / len(values) for values in measured), abs=0.01)
        assert min(shown) == pytest.approx(sum(measured[1]) / len(measured[1]), abs=0.01)
        window.shoot("mlflow-compare-three")
        page.context.close()
