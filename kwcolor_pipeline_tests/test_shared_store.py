"""The shared store: units come whole or not at all, whoever is killed, is slow, or writes at the same time."""

import pytest

from kwcolor_pipeline.settings import SettingsProblem, load_settings
from kwcolor_pipeline.shared_store import SharedStore, Unit

PATTERNS = ("*.json", "*.bin", "parts/*.tar")


class Machine:
    """A machine's folder of one unit, and its way to the store."""

    def __init__(self, root, url, mirrored=True):
        self.store = SharedStore(url, root / "locks")
        self.unit = Unit("tables/all", root / "tables", PATTERNS, mirrored)

    def write(self, **files):
        for name, text in files.items():
            path = self.unit.folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def has(self):
        return {self.unit.name_of(path): path.read_text() for path in self.unit.local_files()}


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/bucket/prefix"


@pytest.fixture
def one(tmp_path, url):
    return Machine(tmp_path / "one", url)


@pytest.fixture
def two(tmp_path, url):
    return Machine(tmp_path / "two", url)


def objects(tmp_path):
    return sorted(path.name for path in (tmp_path / "bucket/prefix/tables/all").rglob("*") if path.is_file())


def test_what_one_machine_puts_the_other_gets_with_what_was_replaced_and_deleted(one, two):
    assert two.store.pull(two.unit) is False
    one.write(a_bin="first", b_bin="gone soon", parts__x_tar="shard", result_json="{}")
    one.write(note_txt="of another kind", parts___hidden_tar="half written")
    assert one.store.push(one.unit)
    assert two.store.pull(two.unit) is True
    assert two.has() == {"a.bin": "first", "b.bin": "gone soon", "parts/x.tar": "shard", "result.json": "{}"}

    two.write(a_bin="second, longer")
    (two.unit.folder / "b.bin").unlink()
    assert two.store.push(two.unit)
    assert not two.store.push(two.unit)
    one.store.pull(one.unit)
    assert one.has() == {"a.bin": "second, longer", "parts/x.tar": "shard", "result.json": "{}"}
    assert (one.unit.folder / "note.txt").exists()


def test_a_unit_that_is_not_mirrored_keeps_what_only_this_machine_has(tmp_path, one, url):
    three = Machine(tmp_path / "three", url, mirrored=False)
    three.write(old_bin="kept")
    one.write(a_bin="first")
    one.store.push(one.unit)
    three.store.pull(three.unit)
    assert three.has() == {"a.bin": "first", "old.bin": "kept"}


def test_a_worker_that_is_killed_while_it_puts_leaves_the_unit_as_it_was(tmp_path, one, two, monkeypatch):
    one.write(a_bin="first", result_json="1")
    one.store.push(one.unit)
    one.write(a_bin="second", result_json="2")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SharedStore, "_write", killed)  # the index is the one thing that is written so
        with pytest.raises(KeyboardInterrupt):
            one.store.push(one.unit)
    assert len(objects(tmp_path)) == 5  # both versions of both files, and the index
    two.store.pull(two.unit)
    assert two.has() == {"a.bin": "first", "result.json": "1"}
    one.store.push(one.unit)
    two.store.pull(two.unit)
    assert two.has() == {"a.bin": "second", "result.json": "2"}


def test_replaced_objects_stay_a_day_for_readers_and_go_at_once_when_purged(tmp_path, one):
    one.write(a_bin="first")
    one.store.push(one.unit)
    one.write(a_bin="second")
    one.store.push(one.unit)
    assert len(objects(tmp_path)) == 3
    one.store.push(one.unit, purge=True)
    (kept,) = [name for name in objects(tmp_path) if name != "index.json"]
    assert (tmp_path / "bucket/prefix/tables/all" / kept).read_text() == "second"


def test_a_damaged_object_is_told_by_its_name_and_never_arrives(tmp_path, one, two):
    one.write(a_bin="first", result_json="1")
    one.store.push(one.unit)
    (broken,) = (tmp_path / "bucket/prefix/tables/all").glob("a.*.bin")
    broken.write_text("FIRST")  # of the same size
    with pytest.raises(SettingsProblem, match=rf"{broken.name}.*damaged.*delete it"):
        two.store.pull(two.unit)
    assert "a.bin" not in two.has()
    assert list(two.unit.folder.glob(".*")) == []


def test_a_missing_object_and_an_index_that_is_none_are_told(tmp_path, one, two):
    one.write(a_bin="first")
    one.store.push(one.unit)
    folder = tmp_path / "bucket/prefix/tables/all"
    next(folder.glob("a.*")).unlink()
    with pytest.raises(SettingsProblem, match=r"missing in the shared store .*a\..*\.bin"):
        two.store.pull(two.unit)
    for written in ("torn {", "[]", '{"files": {"a": 1}}'):
        (folder / "index.json").write_text(written)
        with pytest.raises(SettingsProblem, match=r"index\.json in the shared store is no index"):
            two.store.pull(two.unit)
    for name in ("../outside", "/etc/outside"):
        (folder / "index.json").write_text(f'{{"files": {{"{name}": {{"sha256": "0", "bytes": 1}}}}}}')
        with pytest.raises(SettingsProblem, match="outside its folder"):
            two.store.pull(two.unit)


def test_of_two_machines_that_computed_the_same_unit_the_slower_is_told(one, two):
    for machine in (one, two):
        machine.store.pull(machine.unit)
    one.write(ledger_bin="drawn by one")
    two.write(ledger_bin="drawn by two")
    one.store.push(one.unit)
    with pytest.raises(SettingsProblem, match="Another worker has written tables/all"):
        two.store.push(two.unit)
    one.store.pull(one.unit)
    assert one.has() == {"ledger.bin": "drawn by one"}


def test_a_step_that_made_nothing_does_not_mind_what_others_wrote(one, two):
    one.write(a_bin="first")
    one.store.push(one.unit)
    two.store.pull(two.unit)
    one.write(a_bin="second")
    one.store.push(one.unit)
    assert two.store.push(two.unit) is False


def test_what_another_step_of_the_machine_is_writing_is_not_fetched_over(tmp_path, one, two, url):
    one.write(a_bin="in the store")
    one.store.push(one.unit)
    beside = SharedStore(url, tmp_path / "two" / "locks")
    with two.store.writing([two.unit]):
        two.write(a_bin="being written")
        assert beside.pull(two.unit)
        assert two.has() == {"a.bin": "being written"}
    beside.pull(two.unit)
    assert two.has() == {"a.bin": "in the store"}


def test_photographs_are_only_added_and_are_what_their_name_says(tmp_path, one, two):
    data = b"a picture"
    photo_id = "42bc7ea8e8a0fa1fa0a5b0cfda5a0e5c4ff0ec0c3d7ac1a7b9bd9e6e2ad7ab6b"
    there, here = tmp_path / "one" / f"{photo_id}.jpg", tmp_path / "two" / f"{photo_id}.jpg"
    there.parent.mkdir()
    there.write_bytes(data)
    one.store.push_photographs({there: f"photos/42/{photo_id}.jpg"})
    with pytest.raises(SettingsProblem, match=rf"photos/42/{photo_id}\.jpg.*damaged"):
        two.store.pull_photographs({here: f"photos/42/{photo_id}.jpg"})
    assert not here.exists()


def test_the_store_says_whether_it_can_be_used(tmp_path, one):
    one.store.check()
    assert not [path for path in (tmp_path / "bucket").rglob("*") if path.is_file()]
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, no folder")
    with pytest.raises(SettingsProblem, match=r"cannot be (written|used)"):
        SharedStore(f"file://{blocked}/prefix", tmp_path / "locks").check()
    with pytest.raises(SettingsProblem, match="of no kind that fsspec knows"):
        SharedStore("abacus://bucket", tmp_path / "locks")


@pytest.mark.parametrize("value", ["var", "s3://key:secret@bucket/prefix"])
def test_an_address_has_a_scheme_and_no_secrets(tmp_path, value):
    with pytest.raises(SettingsProblem, match="without user and password"):
        load_settings(home=tmp_path, shared_store=value)
