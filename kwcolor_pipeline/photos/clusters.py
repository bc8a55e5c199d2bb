"""From links between copies to clusters of copies, and the names that clusters keep.

Belongs here: nodes, links and names. What makes two photographs copies does not.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
#: Tells of each pair of nodes [pairs, 2] whether both are copies of one photograph.
Same = Callable[[Indices], npt.NDArray[np.bool_]]


def components(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Connected components of ``count`` nodes: for each node its component's smallest node (union-find)."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, second in links:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return [root(node) for node in range(count)]


def clusters(count: int, links: Indices, same: Same) -> list[int]:
    """Connected components whose members are all copies of one of them, the hub; for each node its cluster's hub.

    A chain of links may lead from a photograph to a stranger. So in each component everything is compared with the
    node that has the most links (of several, the first), by its own link or by ``same``; what is no copy of it makes
    components of its own, and so on. No two members of a cluster are more than two such steps apart.
    """
    hubs = list(range(count))
    open_links = np.unique(np.sort(links, axis=1), axis=0) if len(links) else np.empty((0, 2), dtype=np.int64)
    while len(open_links):
        linked = defaultdict(set)
        for first, second in open_links.tolist():
            linked[first].add(second)
            linked[second].add(first)
        nodes = sorted(linked)
        place = {node: number for number, node in enumerate(nodes)}
        roots = components(len(nodes), ((place[one], place[other]) for one, other in open_links.tolist()))
        members = defaultdict(list)
        for node, root in zip(nodes, roots, strict=True):
            members[root].append(node)
        hub_of = {}
        doubtful = []
        for component in members.values():
            hub = max(component, key=lambda node: (len(linked[node]), -node))
            hub_of[hub] = hub
            hub_of |= dict.fromkeys(linked[hub], hub)
            doubtful += [(hub, node) for node in component if node not in hub_of]
        if doubtful:
            told = same(np.array(doubtful, dtype=np.int64))
            hub_of |= {node: hub for (hub, node), copies in zip(doubtful, told, strict=True) if copies}
        for node, hub in hub_of.items():
            hubs[node] = hub
        settled = np.array(sorted(hub_of), dtype=np.int64)
        open_links = open_links[~np.isin(open_links, settled).any(axis=1)]
    return hubs


def stable_names(groups: Iterable[Sequence[str]], former: Mapping[str, str]) -> dict[str, str]:
    """The name of every member's group, which it keeps when members come, go, or when groups join and part.

    A group takes over the name that most of its members had (``former``), the largest claim first; one without a
    former name, or whose name another group has the better claim to, is called after its smallest member.
    """
    claims, nameless = [], []
    for group in groups:
        ordered = sorted(group)
        names = Counter(former[member] for member in ordered if member in former)
        claims += [(-votes, name, ordered) for name, votes in names.items()]
        nameless.append(ordered)
    names_of: dict[str, str] = {}
    taken: set[str] = set()
    for _, name, group in sorted(claims):
        if group[0] not in names_of and name not in taken:
            names_of |= dict.fromkeys(group, name)
            taken.add(name)
    for group in sorted(nameless):
        if group[0] not in names_of:
            free = next((member for member in group if member not in taken), None)
            # Every member's id is another group's name: only after groups have joined and parted again.
            name = free or f"{group[0]}-{len(taken)}"
            names_of |= dict.fromkeys(group, name)
            taken.add(name)
    return names_of
