from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.splits import SPLITS, assign_splits, read_ledger, remembered, write_ledger
from kwcolor_pipeline.settings import PairSettings, SettingsProblem


@given(
    earlier=st.lists(st.sampled_from([None, *SPLITS]), min_size=3, max_size=60),
    merged=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=6),
)
def test_splits_keep_every_promise(earlier: list[str | None], merged: list[tuple[int, int]]) -> None:
    clusters = {f"c{number}": [f"p{number}"] for number in range(len(earlier))}
    for into, gone in merged:
        if into != gone and len(clusters) > 3 and {f"c{into}", f"c{gone}"} <= clusters.keys():
            clusters[f"c{into}"] += clusters.pop(f"c{gone}")
    ledger = {f"p{number}": split for number, split in enumerate(earlier) if split}
    try:
        split_of = assign_splits(clusters, ledger, PairSettings())
    except SettingsProblem:
        assert sum(not any(member in ledger for member in members) for members in clusters.values()) < 3
        return
    assert split_of.keys() == clusters.keys()
    assert set(split_of.values()) == set(SPLITS)
    for cluster, members in clusters.items():
        claims = {ledger[member] for member in members if member in ledger}
        if claims:
            assert split_of[cluster] == next(split for split in ("test", "valid", "train") if split in claims)


#: What happens between two runs: photographs come, two clusters turn out to be one, one falls apart, one is refused.
CHANGES = st.one_of(
    st.tuples(st.just("come"), st.integers(1, 8), st.just(0)),
    st.tuples(st.just("merge"), st.integers(0, 99), st.integers(0, 99)),
    st.tuples(st.just("part"), st.integers(0, 99), st.integers(1, 3)),
    st.tuples(st.just("refuse"), st.integers(0, 99), st.just(0)),
)


def changed(clusters: list[list[str]], refused: set[str], change: tuple[str, int, int], number: int) -> list[list[str]]:
    kind, first, second = change
    if kind == "come":
        return [*clusters, *([f"p{number}.{count}"] for count in range(first))]
    if kind == "merge":
        one, other = clusters[first % len(clusters)], clusters[second % len(clusters)]
        rest = [cluster for cluster in clusters if cluster not in (one, other)]
        return [*rest, one + other] if one is not other else clusters
    chosen = clusters[first % len(clusters)]
    if kind == "refuse":
        refused.symmetric_difference_update(chosen)
        return clusters
    rest = [cluster for cluster in clusters if cluster is not chosen]
    return [*rest, *filter(None, (chosen[:second], chosen[second:]))]


@hypothesis_settings(max_examples=200)
@given(st.lists(st.lists(CHANGES, min_size=1, max_size=6), min_size=1, max_size=8))
def test_whatever_happens_to_clusters_nothing_that_was_measured_on_ever_trains(
    runs: list[list[tuple[str, int, int]]],
) -> None:
    clusters = [[f"p{number}"] for number in range(12)]
    refused: set[str] = set()
    ledger: dict[str, str] = {}
    ever: dict[str, set[str]] = {split: set() for split in SPLITS}
    for run, changes in enumerate(runs):
        for place, change in enumerate(changes):
            clusters = changed(clusters, refused, change, 1000 * run + place)
        kept = {cluster[0]: cluster for cluster in clusters if cluster[0] not in refused}
        try:
            split_of = assign_splits(kept, ledger, PairSettings())
        except SettingsProblem:
            continue
        ledger = remembered(ledger, split_of, kept)
        in_split = {member: split_of[name] for name, members in kept.items() for member in members}
        assert len(in_split) == sum(map(len, kept.values()))  # no photograph is in two splits, so no cluster is
        for member, split in in_split.items():
            assert split == "train" or member not in ever["train"] or split == ledger[member]
            if split == "train":
                assert member not in ever["valid"] | ever["test"]
            if split == "valid":
                assert member not in ever["test"]
            ever[split].add(member)
        # What is remembered is the strongest split that a photograph ever was in.
        for member, split in ledger.items():
            assert split == next(split for split in reversed(SPLITS) if member in ever[split])


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "a", "b")])
def test_three_clusters_that_become_one_go_to_test_and_stay_there(order: tuple[str, ...]) -> None:
    ledger = {"a": "train", "b": "valid", "c": "test", "d": "train", "e": "valid", "f": "test"}
    merged = {"one": list(order), **{name: [name] for name in "def"}}
    split_of = assign_splits(merged, ledger, PairSettings())
    assert split_of == {"one": "test", "d": "train", "e": "valid", "f": "test"}
    ledger = remembered(ledger, split_of, merged)
    apart = {name: [name] for name in "abcdef"}
    assert [assign_splits(apart, ledger, PairSettings())[name] for name in "abc"] == ["test"] * 3


def test_shares_are_met_and_do_not_depend_on_the_order() -> None:
    clusters = {f"c{number}": [f"p{number}"] for number in range(1000)}
    wanted = PairSettings(valid_share=0.1, test_share=0.2)
    split_of = assign_splits(clusters, {}, wanted)
    assert Counter(split_of.values()) == {"train": 700, "valid": 100, "test": 200}
    assert assign_splits(dict(reversed(clusters.items())), {}, wanted) == split_of


def test_the_ledger_survives_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_ledger(home) == {}
    write_ledger(home, {"b": "test", "a": "train"})
    assert read_ledger(home) == {"a": "train", "b": "test"}
    (home.pairs / "ledger.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(SettingsProblem, match="from a backup"):
        read_ledger(home)
