"""The files of `deploy/`: they parse, name settings and files that exist, and say nothing twice in two ways."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

import kwcolor_pipeline
from kwcolor_pipeline.definitions import ASSETS
from kwcolor_pipeline.servers import prepare_dagster_home
from kwcolor_pipeline.settings import Settings, load_settings

REPOSITORY = Path(kwcolor_pipeline.__file__).parents[1]
DEPLOY = REPOSITORY / "deploy"
OWN = yaml.safe_load((REPOSITORY / "kwcolor_pipeline" / "dagster.yaml").read_text())


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def test_every_yaml_file_parses_and_holds_something():
    files = sorted(DEPLOY.rglob("*.yaml"))
    assert len(files) > 5
    assert [path for path in files if not all(documents(path))] == []


def test_every_setting_that_a_file_names_is_one():
    named = {
        name.partition("__")[0]
        for path in DEPLOY.rglob("*")
        if path.is_file()
        for name in re.findall(r"\bKWCOLOR_([A-Z][A-Z_]*)\b", path.read_text())
    }
    assert len(named) > 8
    assert named - {name.upper() for name in Settings.model_fields} == set()


@pytest.mark.parametrize(
    ("files", "package"),
    [
        (["one_machine/storage.yaml"], "dagster_postgres"),
        (["one_machine/storage.yaml", "ray/run_launcher.yaml", "ray/retries.yaml"], "dagster_ray"),
    ],
)
def test_dagster_takes_the_entries(tmp_path, files, package):
    for needed in (package, "dagster_postgres"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs {needed}")
    settings = load_settings(home=tmp_path, dagster_config=[DEPLOY / file for file in files])
    taken, _ = dagster_instance_config(str(prepare_dagster_home(settings)))
    assert taken["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert taken["freshness"] == {"enabled": True}
    if "ray/retries.yaml" in files:
        assert taken["run_retries"]["retry_on_asset_or_op_failure"] is True
        assert taken["run_launcher"]["class"] == "RayRunLauncher"


def test_the_cluster_has_the_instance_of_one_machine():
    """The chart has places of its own for some entries; all together they are those of the pipeline's dagster.yaml.

    Its launcher is one of the cluster, and it has no place for how a run waits for its code server.
    """
    (values,) = documents(DEPLOY / "kubernetes" / "values.yaml")
    daemon, retention = values["dagsterDaemon"], values["retention"]
    assert {
        **values["additionalInstanceConfig"],
        "telemetry": values["telemetry"],
        "run_monitoring": daemon["runMonitoring"],
        "run_retries": daemon["runRetries"],
        "retention": {name: {"purge_after_days": retention[name]["purgeAfterDays"]} for name in ("schedule", "sensor")},
    } == {name: entry for name, entry in OWN.items() if name not in ("run_launcher", "run_queue")}


def test_dagster_k8s_takes_what_steps_ask_for():
    if importlib.util.find_spec("dagster_k8s") is None:
        pytest.skip("needs dagster_k8s")
    from dagster_k8s.job import get_user_defined_k8s_config

    for asset in ASSETS:
        config = get_user_defined_k8s_config(asset.op.tags)
        asked = json.loads(asset.op.tags["dagster-k8s/config"])["container_config"]["resources"]
        assert config.container_config["resources"] == asked


def test_the_image_has_every_file_that_it_copies_and_that_is_named_in_it():
    lines = (DEPLOY / "images" / "Dockerfile").read_text().splitlines()
    sources = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert sources
    assert [source for source in sources if not (REPOSITORY / source).exists()] == []
    inside = {
        name.partition("__")[0]
        for path in DEPLOY.rglob("*")
        if path.is_file()
        for name in re.findall(r"/opt/kwcolor/(deploy/[\w./]+\w)", path.read_text())
    }
    assert inside
    assert [name for name in inside if not (REPOSITORY / name).exists()] == []
    assert (DEPLOY / "images" / "entrypoint.sh").stat().st_mode & 0o111


def test_pages_are_open_to_this_machine_only():
    (compose,) = documents(DEPLOY / "compose" / "compose.yaml")
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    for path in (
        DEPLOY / "compose" / "compose.yaml",
        DEPLOY / "kubernetes" / "mlflow.yaml",
        DEPLOY / "one_machine" / "mlflow.sh",
    ):
        assert "--allowed-hosts" in path.read_text()
