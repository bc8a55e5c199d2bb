import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.pictures import prepare
from benchmarks.report import Promise, conclude, machine_facts, options, table

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
KEPT = Promise.at_least("kept", 2.0, 1.0, "how")
BROKEN = Promise.at_most("broken", 2.0, 1.0, "how")


@pytest.fixture
def script(monkeypatch):
    """Imports a benchmark, which lies in a folder of scripts and no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def concluded(arguments, promises, capsys):
    status = conclude(options("test").parse_args(arguments), "test", promises, {"n": 1}, {"cores": 2}, ["less"])
    return status, capsys.readouterr()


@pytest.mark.parametrize(
    ("promise", "holds"),
    [
        (Promise.at_least("p", 1.0, 1.0, ""), True),
        (Promise.at_least("p", 0.999, 1.0, ""), False),
        (Promise.at_most("p", 1.0, 1.0, ""), True),
        (Promise.at_most("p", 1.001, 1.0, ""), False),
        (Promise.at_least("p", None, 0.0, ""), False),
        (Promise.at_most("p", None, 9.0, ""), False),
    ],
)
def test_a_promise_holds_up_to_its_bound_and_never_unmeasured(promise, holds):
    assert promise.holds is holds


def test_standard_output_is_one_json_object_and_people_read_the_other(capsys):
    status, printed = concluded([], [KEPT, BROKEN], capsys)
    answer = json.loads(printed.out)
    assert answer["promises"] == [
        {"name": "kept", "value": 2.0, "bound": ">= 1", "holds": True, "how": "how"},
        {"name": "broken", "value": 2.0, "bound": "<= 1", "holds": False, "how": "how"},
    ]
    assert answer["measured"] == {"n": 1}
    assert answer["scaled"] == ["less"]
    assert "DOES NOT HOLD" in printed.err
    assert status == 0


@pytest.mark.parametrize(
    ("arguments", "promises", "status"),
    [(["--check"], [KEPT], 0), (["--check"], [KEPT, BROKEN], 1), ([], [BROKEN], 0)],
)
def test_only_a_check_fails_on_a_broken_promise(arguments, promises, status, capsys):
    assert concluded(arguments, promises, capsys)[0] == status


def test_the_file_holds_what_was_printed(tmp_path, capsys):
    _, printed = concluded(["--json", str(tmp_path / "out.json")], [KEPT], capsys)
    assert (tmp_path / "out.json").read_text() == printed.out


@pytest.mark.parametrize("arguments", [["--json", "missing/out.json"], ["--photos", "missing"]])
def test_a_missing_folder_is_refused_before_anything_is_measured(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        options("test").parse_args(arguments)
    assert "there is no folder" in capsys.readouterr().err


def test_machine_facts_name_cores_python_and_versions(tmp_path):
    facts = machine_facts(["pillow"], tmp_path)
    assert facts["cores"] >= 1
    assert facts["python"] == sys.version.split()[0]
    assert facts["packages"]["pillow"] == Image.__version__
    assert facts["sync_ms"] >= 0
    assert list(tmp_path.iterdir()) == []


def test_a_table_shows_what_was_not_measured_as_a_dash():
    assert table(["who", "rate"], [["a", 1.234], ["bc", None]]) == "who  rate\na    1.23\nbc      -"


def test_drawn_pictures_differ_and_decode(tmp_path):
    pictures, _ = prepare(3, tmp_path / "drawn", None)
    assert len({path.read_bytes() for path in pictures}) == 3
    for path in pictures:
        with Image.open(path) as image:
            image.load()


def test_too_few_photographs_are_repeated_as_different_files_that_decode(tmp_path):
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    Image.new("RGB", (20, 10), "red").save(photos / "deep" / "a.jpg")
    Image.new("RGB", (20, 10), "blue").save(photos / "b.png")
    (photos / "copy.png").write_bytes((photos / "b.png").read_bytes())
    (photos / "broken.jpg").write_bytes(b"no picture")
    pictures, what = prepare(7, tmp_path / "out", photos)
    assert len({path.read_bytes() for path in pictures}) == len(pictures) == 7
    assert what.startswith("photographs of photos, 2 different ones, repeated")
    for path in pictures:
        with Image.open(path) as image:
            image.load()


def test_an_index_says_which_photographs(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (20, 10), "red" if name == "a" else "blue").save(photos / f"{name}.png")
    (photos / "index.csv").write_text("file,id\nb.png,1\n")
    pictures, what = prepare(1, tmp_path / "out", photos)
    assert pictures[0].read_bytes() == (photos / "b.png").read_bytes()
    assert what == "photographs of photos, 1 different ones"


def test_a_folder_without_pictures_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(SystemExit, match="holds no picture"):
        prepare(1, tmp_path / "out", tmp_path / "photos")


@pytest.mark.slow
def test_the_quick_crawl_benchmark_keeps_its_contract_and_shows_what_icrawler_loses(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "crawl.py"), "--quick", "--json", str(tmp_path / "crawl.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert json.loads((tmp_path / "crawl.json").read_text()) == answer
    assert answer["quick"]
    assert answer["scaled"]
    promises = {promise["name"]: promise for promise in answer["promises"]}
    assert set(promises) == {f"{way}_{what}" for way in ("fast", "slow", "late") for what in ("stored", "rate_ratio")}
    assert all(set(promise) == {"name", "value", "bound", "holds", "how"} for promise in answer["promises"])
    # How fast is the machine's affair; that nothing is lost is ours.
    assert all(promises[f"{way}_stored"]["holds"] for way in ("fast", "slow", "late"))
    ways = answer["measured"]["ways"]
    assert all(ways[way]["outcomes"]["icrawler"][0]["lost"] > 0 for way in ("slow", "late"))
    assert ways["fast"]["outcomes"]["icrawler"][0]["lost"] == 0
    for way in ways.values():
        ours = way["outcomes"]["ours"][0]
        assert ours["asked"]["pictures"] == ours["stored"] == way["way"]["pictures"]
        assert ours["other_files"] == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("script", "rows"), [("critic_table", 2), ("recipes", 6), ("ablation", 10)])
def test_a_benchmark_of_training_runs_through(script, rows, tmp_path):
    kept = tmp_path / "answer.json"
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick", "--json", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(kept.read_text())
    assert json.loads(done.stdout) == answer
    assert answer["scaled"]
    measured = answer["measured"]
    assert len(measured["epochs"] if script == "critic_table" else measured["table"]) == rows
    assert all(promise["value"] is not None for promise in answer["promises"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_year_is_all_that_is_hashed_measured_and_made_into_pairs(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "another_year.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)["measured"]
    full, added, a_year = measured["full"], measured["added"], measured["a_year"]
    for stage, counted in (("deduplicated_photos", "newly_hashed"), ("curated_photos", "newly_measured")):
        assert full[stage][counted] == full["deduplicated_photos"]["photographs"]
        assert added[stage][counted] == a_year
    assert full["grayscale_pairs"]["pairs_made"] == full["grayscale_pairs"]["photographs"]
    # The copies among the new photographs are no pairs.
    assert 0 < added["grayscale_pairs"]["pairs_made"] < a_year
    assert added["grayscale_pairs"]["shards_written"] < full["grayscale_pairs"]["shards_written"]


def test_drawn_photographs_are_always_the_same_differ_and_every_tenth_is_a_copy(script):
    from kwcolor_pipeline.photos.hashing import hashes_of_grey, small_grey

    archive = script("drawn_archive")
    drawn = [archive.photograph(number) for number in range(20)]
    assert drawn[3] == archive.photograph(3)
    assert len(set(drawn)) == 20
    hashes = [hashes_of_grey(small_grey(io.BytesIO(data)))["phash"] for data in drawn]
    near = [
        (one, other) for other in range(20) for one in range(other) if (hashes[one] ^ hashes[other]).bit_count() <= 8
    ]
    assert near == [(8, 9), (18, 19)]


def test_a_year_is_listed_page_by_page_and_the_years_share_all_photographs(script):
    archive = script("drawn_archive").DrawnArchive(photographs=25, first_year=1940, last_year=1943)
    listed = []
    for year in range(1940, 1944):
        for page in (1, 2):
            target = f"/collections/drawn/?fo=json&c=5&sp={page}&dates={year}/{year}"
            status, _, body = archive.answer(target)
            assert status == 200
            answer = json.loads(body)
            assert answer["pagination"]["total"] == 2
            listed += [record["id"] for record in answer["results"]]
    assert len(listed) == len(set(listed)) == 25
    assert archive.answer("/collections/drawn/?fo=json&c=5&sp=3&dates=1940/1940")[0] == 404
    assert archive.counts == {"listings": 9, "pictures": 0, "others": 0}


def test_growth_is_the_slope_of_the_logarithms(script):
    scale = script("scale")
    assert scale.exponents([10, 100, 1000], [3, 30, 300]) == pytest.approx({"all": 1, "last": 1})
    assert scale.exponents([10, 100, 1000], [1, 1, 100]) == pytest.approx({"all": 1, "last": 2})
    assert scale.exponents([10, 100], [0, 5]) is None


def test_every_file_of_a_home_is_of_one_kind(script, tmp_path):
    scale = script("scale")
    sizes = {
        "photos/ab/abcd.jpg": 1000,
        "manifests/crawled_photos/1943.parquet": 200,
        "manifests/deduplicated_photos/hashes.parquet": 30,
        "manifests/deduplicated_photos/all.parquet": 4,
        "pairs/train/1943-0-abc.tar": 50_000,
        "pairs/index.parquet": 7,
        "dagster/history/runs/1.db": 90_000,
        "dagster/dagster.yaml": 5,
        "takedowns.jsonl": 1,
    }
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    found = {kind: there["bytes"] for kind, there in scale.on_disk(scale.Home(tmp_path)).items()}
    assert found == {
        "photographs": 1000,
        "manifests of the crawl": 200,
        "hashes": 30,
        "clusters": 4,
        "shards": 50_000,
        "index and splits": 7,
        "Dagster's history": 90_005,
        "others": 1,
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_scale_benchmark_asks_for_each_photograph_once_and_takes_all_stages(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "scale.py"), "--quick", "--second-look", "0", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["scaled"]
    promises = {promise["name"]: promise for promise in answer["promises"]}
    # How much memory and time a photograph takes shows where there are many.
    assert all(promises[name]["holds"] for name in ("requests", "requests_again", "largest_event"))
    for size in answer["measured"]["sizes"]:
        count, stages = size["photographs"], size["stages"]
        assert list(stages) == [
            "crawled_photos",
            "deduplicated_photos",
            "curated_photos",
            "grayscale_pairs",
            "nothing_new",
        ]
        assert stages["crawled_photos"]["requests"]["pictures"] == size["disk"]["photographs"]["files"] == count
        assert stages["nothing_new"]["requests"]["pictures"] == 0
        assert all(stage["mib_peak"] > 50 and stage["cpu_seconds"] > 0 for stage in stages.values())
        assert {"grayscale_pairs", "grayscale_pairs_pairs_are_readable_and_aligned"} <= set(
            stages["grayscale_pairs"]["steps"]
        )
    # What is finished is not measured again.
    again = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert json.loads(again.stdout)["measured"] == answer["measured"]


def test_the_pages_queries_and_their_variables_are_what_this_version_of_dagster_takes(script):
    import graphql
    from dagster_graphql.schema import create_schema
    from graphql.execution.values import get_variable_values

    backfill = script("backfill")
    queries, schema = backfill.UiQueries(), create_schema().graphql_schema
    seen = backfill.Seen(["1943"], backfill="some", run="some")
    asked = [one for page in backfill.PAGES.values() for one in page(seen)]
    params = {"assetSelection": [backfill._KEY], "partitionNames": ["1943"], "fromFailure": False, "tags": []}
    asked.append(("LaunchPartitionBackfill", {"backfillParams": params}))
    assert len(asked) > 20
    for name, variables in asked:
        document = graphql.parse(queries[name])
        assert graphql.validate(schema, document) == [], name
        wanted = document.definitions[0].variable_definitions
        assert {variable.variable.name.value for variable in wanted} >= set(variables), name
        assert isinstance(get_variable_values(schema, wanted, dict(variables)), dict), name
    for own in (backfill._STATE, backfill._PARTITIONS):
        assert graphql.validate(schema, graphql.parse(own)) == []
    with pytest.raises(SystemExit, match="no NoSuchQuery"):
        queries["NoSuchQuery"]


def test_percentiles_of_answers(script):
    described = script("backfill").described_seconds([float(number) for number in range(100, 0, -1)])
    assert described == {"answers": 100, "p50": 50.5, "p95": 95.0, "max": 100.0}


def test_colorizing_is_promised_against_deoldify_and_a_plain_loop(script):
    times = {"12 megapixels": {"ours": 2.0, "plain loop": 3.0, "DeOldify": 28.0}}
    slower, plain = script("colorize")._promises(times, 35)
    assert (slower.name, slower.value, slower.holds) == ("times_faster_than_deoldify_12_mp", 14.0, False)
    assert (plain.name, plain.value, plain.holds) == ("plain_loop_12_mp", 1.5, True)
