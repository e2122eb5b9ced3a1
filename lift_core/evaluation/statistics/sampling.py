"""Which items are asked first: any number of them has every subject in proportion.

The items get one order, and a look at n items takes the first n. So the items of a look are among those of
every later one, and no answer is paid for twice.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping


def stratified_order(strata: Mapping[str, str], seed: int) -> tuple[str, ...]:
    """The ids of ``strata`` (id to stratum), drawn at random within each stratum and evenly across them.

    Among the first n ids, every stratum has its share of n but for about one item. The order hangs on the
    ids, strata and seed alone, not on the order in which they were given.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for item, stratum in strata.items():
        members[stratum].append(item)
    places: list[tuple[float, str]] = []
    for stratum, items in members.items():
        # A random start in each stratum: otherwise all strata of one size would come due at once.
        start = _share(seed, "stratum", stratum)
        items.sort(key=lambda item: (_share(seed, "item", item), item))
        places += [((rank + start) / len(items), item) for rank, item in enumerate(items)]
    return tuple(item for _, item in sorted(places))


def _share(seed: int, kind: str, name: str) -> float:
    """A number from 0 up to 1 that looks random and is always the same for the same name and seed."""
    digest = hashlib.sha256(f"{seed} {kind} {name}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56
