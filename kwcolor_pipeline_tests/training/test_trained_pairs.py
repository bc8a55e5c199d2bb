"""How much the pairs differ from those that a model was trained on."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.pairs import index_path
from kwcolor_pipeline.training.trained_pairs import changed_share, keep_trained_pairs, pairs_that_train


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def make(home, photographs, made_as="once", split="train"):
    rows = [{"photo_id": name, "made_as": made_as, "split": split} for name in photographs]
    rows.append({"photo_id": "measured", "made_as": f"{len(rows)}", "split": "test"})
    index_path(home).parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), index_path(home))


@pytest.mark.parametrize(
    ("photographs", "made_as", "share"),
    [
        ("abcdefghij", "once", 0.0),
        ("abcdefghijk", "once", 0.1),
        ("abcdefghi", "once", 0.1),
        ("bcdefghijk", "once", 0.2),
        ("abcdefghij", "anew", 2.0),
        ("", "once", 1.0),
    ],
)
def test_the_share_counts_what_came_and_what_went(home, photographs, made_as, share):
    make(home, "abcdefghij")
    keep_trained_pairs(home, pairs_that_train(home))
    make(home, photographs, made_as)
    assert changed_share(home) == pytest.approx(share)


def test_changes_add_up_until_the_next_training(home):
    make(home, "abcdefghij")
    keep_trained_pairs(home, pairs_that_train(home))
    make(home, "abcdefghijk")
    make(home, "abcdefghijkl")
    assert changed_share(home) == pytest.approx(0.2)
    keep_trained_pairs(home, pairs_that_train(home))
    assert changed_share(home) == 0


def test_without_a_usable_record_everything_is_new(home):
    make(home, "abc")
    assert changed_share(home) == 1
    keep_trained_pairs(home, pairs_that_train(home))
    (record,) = home.models.rglob("*.parquet")
    record.write_bytes(b"damaged")
    assert changed_share(home) == 1


def test_a_training_on_nothing_is_no_measure(home):
    make(home, "")
    keep_trained_pairs(home, pairs_that_train(home))
    make(home, "a")
    assert changed_share(home) == 1
