"""The folder of a model version: an MLflow pyfunc model around a model bundle.

Belongs here: what lies in that folder, and how a version of either layout is read. Registering it does not.

    MLmodel, requirements.txt, python_env.yaml, conda.yaml    as MLflow reads them; the signature is in MLmodel
    input_example.json, serving_input_example.json            a small picture, and the request that holds it
    served_model.py                                           the model code; no pickle is stored
    artifacts/bundle/                                         the bundle as training wrote it, model card included
    code/kwcolor_pipeline/                                    the modules that colorizing needs

The code goes along because no package index has kwcolor_pipeline, and because a version should
colorize as it did when it was measured, whatever the package became since: MLflow puts `code/` at the
front of the import path. Everything else is a listed requirement with its version; MLflow would
otherwise find the requirements by loading the model once more, which takes seconds.

Versions that were registered before are the bundle alone.
"""

import base64
import importlib.metadata
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

#: Where the bundle lies below an MLflow model's folder.
BUNDLE = "artifacts/bundle"
#: The file that makes a folder an MLflow model.
MLMODEL = "MLmodel"

#: What colorizing needs of this package; a test holds it.
_CODE = ("__init__.py", "home.py", "settings.py", "colorize", "colour", "networks")
#: Distributions that this code imports. Pillow, imagecodecs and tifffile read, torch and timm compute, MLflow serves.
_REQUIRED = (
    *("imagecodecs", "mlflow", "numpy", "pillow", "pydantic", "pydantic-settings", "safetensors", "tifffile", "timm"),
    "torch",
)
_EXAMPLE, _REQUEST = "input_example.json", "serving_input_example.json"


def bundle_in(folder: Path) -> Path:
    """The model bundle in the folder of a version, of either layout."""
    return folder / BUNDLE if (folder / MLMODEL).is_file() else folder


def write_model_folder(folder: Path, bundle: Path, metadata: Mapping[str, Any]) -> None:
    """Write an MLflow model around ``bundle`` into ``folder``, which has to be empty or missing.

    ``metadata`` are words about the version for MLmodel. Nothing is loaded and no network is asked.
    """
    import mlflow
    from mlflow.models import Model

    example = [_example_picture()]
    described = Model(
        metadata=dict(metadata),
        saved_input_example_info={
            "artifact_path": _EXAMPLE,
            "serving_input_path": _REQUEST,
            # What MLflow calls a list of strings. Given to save_model, the example would be colorized first.
            "type": "json_object",
        },
    )
    with TemporaryDirectory(prefix="kwcolor-") as temporary:
        # MLflow names what it takes after its source, and takes no links.
        named = Path(temporary) / Path(BUNDLE).name
        shutil.copytree(bundle, named)
        mlflow.pyfunc.save_model(
            folder,
            python_model=Path(__file__).with_name("served_model.py"),
            artifacts={named.name: str(named)},
            code_paths=[str(_code_in(Path(temporary)))],
            pip_requirements=requirements(),
            mlflow_model=described,
        )
    (folder / _EXAMPLE).write_text(json.dumps(example))
    (folder / _REQUEST).write_text(json.dumps({"inputs": example}))


def requirements() -> list[str]:
    """The packages that a version needs where it is served, each with the version that is installed here."""
    # Without a local part such as `+cpu`, which no package index knows.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in _REQUIRED]


def _code_in(folder: Path) -> Path:
    """A copy of the package with the modules that a version needs."""
    package = Path(__file__).parents[1]
    copied = folder / package.name
    for name in _CODE:
        if (package / name).is_dir():
            shutil.copytree(package / name, copied / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (copied / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / name, copied / name)
    return copied


def _example_picture() -> str:
    """A small grey JPEG, from black to white, as base64."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()
