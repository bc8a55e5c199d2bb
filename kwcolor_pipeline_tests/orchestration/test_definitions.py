"""The code location: it loads, fast and light, and its rooms import in one direction."""

import ast
import collections
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import kwcolor_pipeline
from kwcolor_pipeline.definitions import ASSETS, build_definitions, defs
from kwcolor_pipeline.orchestration.incremental import ASSET_NAMES
from kwcolor_pipeline.settings import SettingsProblem, load_settings

PACKAGE = Path(kwcolor_pipeline.__file__).parent
REPOSITORY = PACKAGE.parent
HEAVY = ("torch", "torchvision", "timm", "kornia", "mlflow", "skimage", "sklearn", "scipy")
#: A room imports only from itself and from rooms to its right.
ROOMS = (
    *("cli", "doctor", "definitions", "assets", "orchestration", "servers", "studio", "review"),
    *("crawling", "evaluation"),
    *("baselines", "training", "tracking", "colorize", "photos", "networks", "colour", "starter", "sample"),
    *("shared_store", "backup", "settings", "home", "stopping"),
)


def test_the_definitions_load():
    dg.Definitions.validate_loadable(defs)


def test_every_asset_is_described_and_versioned():
    specs = [spec for asset in ASSETS for spec in asset.specs]
    assert [spec.key.to_user_string() for spec in specs][:2] == ["crawled_photos", "korean_war_photos"]
    assert {spec.key.to_user_string() for spec in specs} == set(ASSET_NAMES)
    assert len(specs) == 10
    assert {spec.group_name for spec in specs} == {"photographs", "korean_war", "models", "results"}
    for spec in specs:
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.code_version, spec.key
        assert len(spec.description or "") > 40, spec.key


def test_the_graph_is_the_one_that_is_promised():
    graph = defs.resolve_asset_graph()
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "crawled_photos": set(),
        "korean_war_photos": set(),
        "deduplicated_photos": {"crawled_photos"},
        "curated_photos": {"deduplicated_photos"},
        "grayscale_pairs": {"curated_photos"},
        "pretrained_generator": {"grayscale_pairs"},
        "critic": {"grayscale_pairs", "pretrained_generator"},
        "gan_model": {"grayscale_pairs", "pretrained_generator", "critic"},
        "evaluation_report": {"grayscale_pairs", "pretrained_generator", "gan_model", "korean_war_photos"},
        "colorized_gallery": {"evaluation_report", "korean_war_photos"},
    }


def test_the_checks_that_block_are_those_that_have_to():
    graph = defs.resolve_asset_graph()
    blocking = {
        f"{key.asset_key.to_user_string()}:{key.name}": graph.get(key).blocking for key in graph.asset_check_keys
    }
    assert blocking == {
        "crawled_photos:listed_photographs_were_stored": True,
        "korean_war_photos:listed_photographs_were_stored": True,
        "grayscale_pairs:pairs_are_readable_and_aligned": True,
        "pretrained_generator:weights_are_finite": True,
        "critic:weights_are_finite": True,
        "gan_model:weights_are_finite": True,
        "evaluation_report:better_than_grey": False,
        "evaluation_report:no_test_photograph_was_trained_on": False,
        "evaluation_report:not_worse_than_the_champion": False,
        "evaluation_report:colours_did_not_collapse": False,
    }


def test_the_years_stay_below_what_dagster_tells_staleness_for():
    assert len(defs.resolve_asset_graph().get(dg.AssetKey("crawled_photos")).partitions_def.get_partition_keys()) < 100


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_executors_are_chosen_by_name(tmp_path, executor):
    definitions = build_definitions(load_settings(home=tmp_path, executor=executor))
    dg.Definitions.validate_loadable(definitions)
    assert definitions.executor.name.startswith(executor)


def test_an_unknown_executor_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(SettingsProblem, match="in_process, multiprocess"):
        build_definitions(load_settings(home=tmp_path, executor="abacus"))


@pytest.mark.parametrize(("executor", "package"), [("ray", "dagster_ray"), ("kubernetes", "dagster_k8s")])
def test_an_executor_of_a_cluster_is_chosen_or_says_what_it_lacks(tmp_path, executor, package):
    settings = load_settings(home=tmp_path, executor=executor)
    if importlib.util.find_spec(package) is None:
        with pytest.raises(SettingsProblem, match=rf"`{executor}` needs .*kwcolor_pipeline\[{executor}\]"):
            build_definitions(settings)
    else:
        dg.Definitions.validate_loadable(build_definitions(settings))


def test_trainings_ask_clusters_for_a_gpu_and_crawls_for_none():
    graph = {asset.key.to_user_string(): asset.op.tags for asset in ASSETS}
    asked = {name: json.loads(tags["dagster-ray/config"]) for name, tags in graph.items()}
    with_gpu = {"pretrained_generator", "critic", "gan_model", "evaluation_report", "colorized_gallery"}
    assert {name for name, needs in asked.items() if needs.get("num_gpus")} == with_gpu
    assert all(needs["num_cpus"] == 1 for needs in asked.values())
    in_pods = {name: json.loads(tags["dagster-k8s/config"]) for name, tags in graph.items()}
    limits = {name: pod["container_config"]["resources"].get("limits") for name, pod in in_pods.items()}
    assert {name for name, limit in limits.items() if limit == {"nvidia.com/gpu": 1}} == with_gpu


@pytest.mark.parametrize("module", ["kwcolor_pipeline.definitions", "kwcolor_pipeline.orchestration.incremental"])
def test_importing_is_light(tmp_path, module):
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    # In an empty folder: the operator's own kwcolor.toml is not this test's affair.
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert set(json.loads(found.stdout.splitlines()[-1])) & set(HEAVY) == set()


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """(level, module) of every import in a file, wherever it stands; `from a import b` counts as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, f"{node.module}.{alias.name}") for alias in node.names)


def test_rooms_import_in_one_direction():
    problems = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room == "__init__":
            continue
        for _, module in imports_of(path):
            package, _, inside = module.partition(".")
            target = inside.partition(".")[0]
            if package != "kwcolor_pipeline" or target in (room, "__version__"):
                continue
            if ROOMS.index(target) < ROOMS.index(room):
                problems.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert problems == []


def test_imports_are_absolute():
    files = [*PACKAGE.rglob("*.py"), *Path(__file__).parents[1].rglob("*.py")]
    assert [str(path) for path in files for level, _ in imports_of(path) if level] == []


def test_only_some_rooms_know_dagster_and_mlflow():
    users: dict[str, set[str]] = collections.defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for _, module in imports_of(path):
            users[module.partition(".")[0]].add(room)
    assert users["dagster"] == {"definitions", "assets", "orchestration"}
    assert users["mlflow"] == {"tracking"}


def run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(home)}
    environment |= {"KWCOLOR_HOME": str(home / "home"), "DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    [
        ["dagster", "definitions", "validate", "-w", "workspace.yaml"],
        pytest.param(["dg", "check", "defs"], marks=pytest.mark.slow),
    ],
    ids=lambda command: command[0],
)
def test_dagsters_own_validation_passes(tmp_path, command):
    finished = run([str(Path(sys.executable).parent / command[0]), *command[1:]], tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
