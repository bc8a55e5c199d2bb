import datetime
import subprocess
import sys

from kwcolor_pipeline.crawling.journal import Ledger
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, write_manifest


def row(name, status=Status.STORED):
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return ManifestRow(source="s", source_id=name, file_url=f"http://a/{name}", retrieved_at=now, status=status)


def names(ledger):
    return {identity[1] for identity in ledger.known}


def test_a_torn_last_line_is_cut_off_and_the_next_line_is_whole(tmp_path):
    manifest, journal = tmp_path / "1943.parquet", tmp_path / "1943.journal.jsonl"
    first = Ledger(manifest, journal)
    first.record(row("a"))
    first.record(row("b"))
    journal.write_bytes(journal.read_bytes()[:-20])
    second = Ledger(manifest, journal)
    assert names(second) == {"a"}
    second.record(row("c"))
    assert names(Ledger(manifest, journal)) == {"a", "c"}


def test_damage_in_the_middle_costs_what_follows_and_raises_nothing(tmp_path):
    journal = tmp_path / "j"
    ledger = Ledger(tmp_path / "m", journal)
    for name in "abc":
        ledger.record(row(name))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"\0" * 40 + b"\n" + lines[2])
    assert names(Ledger(tmp_path / "m", journal)) == {"a"}


def test_the_journal_is_newer_than_the_manifest(tmp_path):
    manifest, journal = tmp_path / "m", tmp_path / "j"
    write_manifest(manifest, [row("a", Status.FAILED), row("b")])
    Ledger(manifest, journal).record(row("a"))
    known = Ledger(manifest, journal).known
    assert {row.source_id: row.status for row in known.values()} == {"a": Status.STORED, "b": Status.STORED}


def test_titles_with_line_separators_stay_on_one_line(tmp_path):
    journal = tmp_path / "j"
    odd = row("a").model_copy(update={"title": "one\ntwo\u2028three\x85four\rfive"})
    ledger = Ledger(tmp_path / "m", journal)
    ledger.record(odd)
    ledger.record(row("b"))
    assert names(Ledger(tmp_path / "m", journal)) == {"a", "b"}


FULL = """
import resource, signal, sys
from pathlib import Path
from kwcolor_pipeline.crawling.journal import Ledger
from kwcolor_pipeline_tests.crawling.test_journal import row
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
ledger = Ledger(Path(sys.argv[1]) / "m", Path(sys.argv[1]) / "j")
refused = 0
for number in range(40):
    try:
        ledger.record(row(f"{number:03}" + "x" * number))
    except OSError:
        refused += 1
print(refused, len(ledger.rows))
"""


def test_on_a_full_disk_a_row_is_written_whole_or_not_at_all(tmp_path):
    told = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True).stdout
    refused, kept = map(int, told.split())
    assert refused > 0
    assert refused + kept == 40
    before = (tmp_path / "j").read_bytes()
    assert len(names(Ledger(tmp_path / "m", tmp_path / "j"))) == kept > 0
    assert (tmp_path / "j").read_bytes() == before


def test_what_other_years_stored_is_known_by_its_address(tmp_path):
    facts = {"photo_id": "ab12", "width": 30, "height": 20, "bytes": 600, "mime": "image/jpeg", "etag": '"1"'}
    local = row("d").model_copy(update={"file_url": "file:///d.jpg"})
    write_manifest(tmp_path / "1941.parquet", [row("a").model_copy(update=facts), row("b", Status.REJECTED), local])
    write_manifest(tmp_path / "1942.parquet", [row("e")])
    write_manifest(tmp_path / "1943.parquet", [row("c")])
    ledger = Ledger(tmp_path / "1943.parquet", tmp_path / "j")
    assert ledger.elsewhere("http://a/a") == {**facts, "last_modified": None}
    assert ledger.elsewhere("http://a/e") is not None
    for unknown in ("http://a/b", "http://a/c", "file:///d.jpg", "http://a/nothing"):
        assert ledger.elsewhere(unknown) is None


def test_a_single_year_knows_of_no_other(tmp_path):
    assert Ledger(tmp_path / "1943.parquet", tmp_path / "j").elsewhere("http://a/a") is None
