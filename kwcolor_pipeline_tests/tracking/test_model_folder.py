"""A version is an MLflow model that needs nothing but its folder and the requirements that it lists."""

import base64
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.tracking.mlflow_tracking import DATA_TAG, PRESET_TAG, WEIGHTS_TAG, Tracking, open_tracking
from kwcolor_pipeline.tracking.model_folder import bundle_in, requirements, write_model_folder
from kwcolor_pipeline_tests.colorize.pictures import jpeg_bytes
from kwcolor_pipeline_tests.photos.pictures import scene
from kwcolor_pipeline_tests.test_servers import free_ports
from kwcolor_pipeline_tests.tracking.environments import environment_with

#: What the bundle's network answers with everywhere, in CIELAB units.
CHROMA = (12.0, -9.0)
#: Loads a version as MLflow does and colorizes its own input example.
LOADED = """
import json, sys
from pathlib import Path
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
answer = model.predict(model.input_example)
import kwcolor_pipeline
print(json.dumps({"answer": answer, "code": str(Path(kwcolor_pipeline.__file__).parent)}))
"""


def colourful_bundle(folder: Path) -> Path:
    """A bundle of a real generator with random weights that answers with CHROMA, as training writes it."""
    import torch

    from kwcolor_pipeline.networks.bundle import write_bundle
    from kwcolor_pipeline.networks.generator import CHROMA_SCALE, Generator

    torch.manual_seed(0)
    architecture = {"encoder": "tf_efficientnet_lite0.in1k", "widths": [16, 12, 8, 8]}
    generator = Generator("tf_efficientnet_lite0.in1k", "none", (16, 12, 8, 8))
    *_, weight, bias = generator.chroma.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.copy_(torch.tensor(CHROMA) / CHROMA_SCALE)
    folder.mkdir(parents=True)
    preset = {"name": "demo", "size": 32, "crop_scale": 1.15}
    write_bundle(folder, "generator", generator, {"architecture": architecture, "preset": preset})
    (folder / "README.md").write_text("# gan_model\n\nThe model card.\n")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colourful_bundle(tmp_path_factory.mktemp("bundle") / "0123456789abcdef")


@pytest.fixture(scope="module")
def model(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    write_model_folder(folder, bundle, {PRESET_TAG: "demo", DATA_TAG: "abc"})
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_with(requirements(), tmp_path_factory.mktemp("environment") / "env")


def offline(environment: Path, home: Path) -> dict[str, str]:
    """Variables of a process that knows only the environment, and no proxy through which it could reach others."""
    return {
        "PATH": f"{environment}:/usr/bin:/bin",
        "HOME": str(home),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }


def chroma_of(picture: Image.Image) -> tuple[float, float]:
    """Mean a*, b*."""
    import torch

    from kwcolor_pipeline.colour.lab import rgb_to_lab

    rgb = torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1)[None] / 255
    _, a, b = rgb_to_lab(rgb)[0].mean(dim=(1, 2)).tolist()
    return a, b


def decoded(answer: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer, validate=True)))


def test_the_folder_says_what_mlflow_has_to_know(model: Path, bundle: Path) -> None:
    from mlflow.models import Model

    described = Model.load(str(model))
    assert described.metadata == {PRESET_TAG: "demo", DATA_TAG: "abc"}
    assert described.signature is not None
    assert [column["type"] for column in described.signature.inputs.to_dict()] == ["string"]
    assert [column["type"] for column in described.signature.outputs.to_dict()] == ["string"]
    (example,) = described.load_input_example(str(model))
    assert decoded(example).size == (64, 48)
    request = described.get_serving_input(str(model))
    assert request is not None
    assert json.loads(request) == {"inputs": [example]}
    listed = (model / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in listed} >= {"mlflow", "torch", "timm", "pillow", "safetensors"}
    assert all("==" in line and "+" not in line for line in listed)
    # Nothing that would be unpickled, and the bundle byte by byte, with its card.
    assert [path for path in model.rglob("*") if path.suffix in (".pkl", ".pickle", ".pyc")] == []
    kept = bundle_in(model)
    assert kept != model
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in bundle.iterdir()
    }


def test_a_bundle_of_before_is_its_own_folder(bundle: Path) -> None:
    assert bundle_in(bundle) == bundle


def test_a_version_is_loaded_with_its_own_code_and_its_requirements_alone(
    model: Path, environment: Path, tmp_path: Path
) -> None:
    variables = offline(environment, tmp_path) | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/unused.db"}
    ended = subprocess.run(
        [environment / "python", "-c", LOADED, model], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["code"] == str(model / "code" / "kwcolor_pipeline")
    picture = decoded(told["answer"][0])
    assert picture.size == (64, 48)
    a, b = chroma_of(picture)
    assert a > 3
    assert b < -3


def register(tracking: Tracking, bundle: Path) -> None:
    with tracking.run("train", {}, {}) as run:
        tags = {WEIGHTS_TAG: "w", PRESET_TAG: "demo", DATA_TAG: "abc"}
        tracking.register_version(run, bundle, tags, "a generator")
    version = tracking.newest()
    assert version is not None
    tracking.promote(version, {})


@pytest.fixture
def served(bundle: Path, environment: Path, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve -m models:/kwcolor@champion` in the environment; gives its address."""
    settings = load_settings(home=tmp_path / "home")
    register(open_tracking(settings), bundle)
    port = free_ports()[0]
    command = ["mlflow", "models", "serve", "-m", "models:/kwcolor@champion", "--env-manager", "local"]
    variables = offline(environment, tmp_path) | {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "KWCOLOR_DEVICE": "cpu",
        "KWCOLOR_DOWNLOAD__MAX_PIXELS": "100000",
    }
    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [environment / command[0], *command[1:], "--host", "127.0.0.1", "--port", str(port)],
            cwd=tmp_path,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the group that was started above: mlflow and its uvicorn
        process.wait(60)


def _wait_for(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"{address}/ping", timeout=5).status_code == 200:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise AssertionError(f"the model is not served:\n{log.read_text()}")


def post(address: str, *pictures: bytes) -> tuple[int, dict[str, Any]]:
    encoded = [base64.b64encode(data).decode() for data in pictures]
    answer = requests.post(f"{address}/invocations", json={"inputs": encoded}, timeout=60)
    return answer.status_code, answer.json()


@pytest.mark.slow
def test_the_champion_is_served_over_http(served: str) -> None:
    photograph = jpeg_bytes(scene(3, (96, 72)).convert("L"))
    code, answer = post(served, photograph)
    assert (code, list(answer)) == (200, ["predictions"])
    picture = decoded(answer["predictions"][0])
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (96, 72), "RGB")
    assert np.ptp(np.asarray(picture).astype(int), axis=2).mean() > 5
    a, b = chroma_of(picture)
    assert a > 3
    assert b < -3

    exif = Image.Exif()
    exif[274] = 6
    code, answer = post(served, jpeg_bytes(scene(4, (96, 72)), exif=exif), photograph)
    assert code == 200
    assert [decoded(each).size for each in answer["predictions"]] == [(72, 96), (96, 72)]

    code, answer = post(served, photograph, photograph[:300], b"no picture", jpeg_bytes(Image.new("L", (400, 300))))
    assert (code, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert answer["message"].startswith("inputs[1] ")
    assert "inputs[2] is not a picture in a format that can be read." in answer["message"]
    assert "inputs[3] has 400 x 300 pixels, more than the 100,000" in answer["message"]
    assert "inputs[0]" not in answer["message"]
    assert len(json.dumps(answer)) < 800  # no traceback, and the request is not repeated
    assert post(served, photograph)[0] == 200
