"""Networks and training without Dagster and MLflow, and the notebook of the documents."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import kwcolor_pipeline
from kwcolor_pipeline_tests.photos.pictures import scene
from kwcolor_pipeline_tests.small_homes import TINY

ROOT = Path(kwcolor_pipeline.__file__).parents[1]

#: Stands before everything else in a process: whoever asks for Dagster or MLflow is told no.
_REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].partition("_")[0] in ("dagster", "mlflow"):
            raise ImportError(f"{name} is refused here")

sys.meta_path.insert(0, Refuse())
"""
_IMPORT_ALL = """
import importlib, pkgutil
import kwcolor_pipeline.networks, kwcolor_pipeline.training
names = [
    found.name
    for package in (kwcolor_pipeline.networks, kwcolor_pipeline.training)
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
]
for name in names:
    importlib.import_module(name)
print(*names)
"""


def python(code: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")}
    return subprocess.run(
        [sys.executable, "-c", _REFUSE + code],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_refusal_works(tmp_path: Path) -> None:
    for name in ("dagster", "mlflow.entities", "dagster_webserver"):
        assert f"{name.partition('.')[0]} is refused here" in python(f"import {name}", tmp_path).stderr


def test_networks_and_training_need_neither_dagster_nor_mlflow(tmp_path: Path) -> None:
    done = python(_IMPORT_ALL, tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("networks.generator", "networks.bundle", "training.loop", "training.stages", "training.adversarial"):
        assert f"kwcolor_pipeline.{name}" in done.stdout.split()


def test_the_notebook_of_the_documents_runs(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "notebook.md").read_text(), re.DOTALL)
    own_lines = [line for line in code.splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(own_lines) <= 10
    (tmp_path / "pictures" / "1943").mkdir(parents=True)
    for seed in range(16):
        folder = tmp_path / "pictures" / ("1943" if seed % 2 else "")
        scene(seed, (80, 72)).save(folder / f"{seed}.jpg", quality=95)
    scene(99, (90, 75)).convert("L").save(tmp_path / "old.jpg")

    tiny = TINY | {"encoder": "test_efficientnet", "pretrain_min_steps": 30, "pretrain_lr": 3e-3}
    done = python(code, tmp_path, KWCOLOR_TRAINING=json.dumps(tiny), KWCOLOR_DEVICE="cpu", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'epoch': 2.0") == 3
    with Image.open(tmp_path / "colorized" / "old.png") as result:
        assert (result.mode, result.size) == ("RGB", (90, 75))
        assert np.ptp(np.asarray(result).astype(int), axis=2).max() > 0
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "old.jpg", "colours", "colorized"}
