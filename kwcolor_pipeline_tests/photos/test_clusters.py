"""Links become clusters without strangers, and clusters keep their names."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.photos.clusters import Indices, clusters, components, stable_names

LINKS = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=25)


def as_links(pairs: list[tuple[int, int]]) -> Indices:
    different = [pair for pair in pairs if pair[0] != pair[1]]
    return np.array(different, dtype=np.int64).reshape(-1, 2)


def never(pairs: Indices) -> np.ndarray:
    return np.zeros(len(pairs), dtype=bool)


def always(pairs: Indices) -> np.ndarray:
    return np.ones(len(pairs), dtype=bool)


@given(LINKS)
def test_components_are_named_by_their_smallest_node(links: list[tuple[int, int]]) -> None:
    names = list(range(15))
    for _ in names:
        for first, second in links:
            names[first] = names[second] = min(names[first], names[second])
    assert components(15, links) == names


@given(LINKS)
def test_where_all_are_copies_clusters_are_the_components(pairs: list[tuple[int, int]]) -> None:
    hubs = clusters(15, as_links(pairs), always)
    roots = components(15, pairs)
    assert len(set(zip(hubs, roots, strict=True))) == len(set(hubs)) == len(set(roots))


@given(LINKS)
def test_every_member_is_linked_with_its_hub_where_nothing_else_is_a_copy(pairs: list[tuple[int, int]]) -> None:
    hubs = clusters(15, as_links(pairs), never)
    linked = {frozenset(pair) for pair in pairs}
    for node, hub in enumerate(hubs):
        assert hubs[hub] == hub
        assert node == hub or frozenset((node, hub)) in linked


def test_a_chain_does_not_swallow_strangers() -> None:
    chain = as_links([(node, node + 1) for node in range(9)])
    asked = []

    def same(pairs: Indices) -> np.ndarray:
        asked.extend(map(tuple, pairs.tolist()))
        return np.abs(pairs[:, 0] - pairs[:, 1]) <= 2

    hubs = clusters(10, chain, same)
    assert all(abs(node - hub) <= 2 for node, hub in enumerate(hubs))
    assert len(set(hubs)) == 3
    assert all(abs(one - other) > 1 for one, other in asked)  # linked ones need no second opinion


def test_a_star_of_thousands_asks_nothing() -> None:
    def same(pairs: Indices) -> np.ndarray:
        raise AssertionError("nothing is doubtful in a star")

    assert clusters(5000, as_links([(0, node) for node in range(1, 5000)]), same) == [0] * 5000
    assert clusters(3, as_links([]), same) == [0, 1, 2]


def test_names_stay_when_a_smaller_member_comes() -> None:
    assert stable_names([["b", "c"], ["d"]], {}) == {"b": "b", "c": "b", "d": "d"}
    assert stable_names([["a", "b", "c"]], {"b": "b", "c": "b"}) == dict.fromkeys("abc", "b")


def test_the_larger_part_keeps_the_name_of_a_group_that_parts() -> None:
    former = dict.fromkeys("abcde", "a")
    assert stable_names([["a", "b"], ["c", "d", "e"]], former) == {
        **dict.fromkeys("cde", "a"),
        **dict.fromkeys("ab", "b"),
    }


def test_groups_that_join_take_the_name_of_most_members() -> None:
    former = {"a": "a", "b": "b", "c": "b", "z": "z"}
    assert stable_names([["a", "b", "c"], ["z"]], former) == {**dict.fromkeys("abc", "b"), "z": "z"}


GROUPS = st.lists(st.integers(0, 5), min_size=12, max_size=12)


@given(GROUPS, GROUPS)
def test_names_are_never_shared_and_an_unchanged_partition_keeps_them(before: list[int], after: list[int]) -> None:
    def grouped(colours: list[int]) -> list[list[str]]:
        return [[f"{m:02}" for m, c in enumerate(colours) if c == colour] for colour in sorted(set(colours))]

    first = stable_names(grouped(before), {})
    second = stable_names(grouped(after), first)
    assert len(set(second.values())) == len(set(after))
    assert all(len({second[member] for member in group}) == 1 for group in grouped(after))
    assert stable_names(grouped(after), second) == second
