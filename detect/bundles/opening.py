"""Which opening of the one mark a case hands over: by the commitment that its log names, or by none."""

from __future__ import annotations

from collections.abc import Sequence

from detect.bundles import canonical
from detect.bundles.held import Held
from detect.plans.plan import Plan
from watermark.errors import CommitmentError
from watermark.keys import Commitment, Key, Leaf, Opening, verify_opening
from watermark.keys.commitment import opened


def opening_of(held: Held, key: Key, leaves: Sequence[Leaf] = ()) -> Opening:
    """Open the mark of a case.

    1. With the leaves of a commitment, which must be one that the case recorded.
    2. Else by the place in such a commitment that a plan of the case shows.
    3. Else, where the case recorded a commitment to this key alone, by that.
    4. Else, where it recorded none, by a commitment to this key alone that is made now, and counts for nothing in the
       order of events.

    Raises:
        CommitmentError: it is another key than the case's, or it cannot be shown in the commitment that was recorded.
    """
    if held.mark is None or held.mark.key_id != key.key_id:
        raise CommitmentError(f"the case is not one of key {key.short_id}; give its own key to open it")
    roots = {(entry.details["root"], entry.details["size"]) for _, entry in held.log.of("committed")}
    if leaves:
        whole = Commitment.of(leaves)
        if (whole.root, whole.size) not in roots:
            raise CommitmentError("the leaves lead to no commitment that the case recorded; give those of one it did")
        return _by_leaves(whole, key)
    planned = [plan.inclusion for plan in _plans(held) if plan.inclusion is not None and plan.key_id == key.key_id]
    for one in planned:
        if (one.commitment.root, one.commitment.size) in roots:
            root, size = one.commitment.root, one.commitment.size
            opening = opened(key, one.leaf, one.index, one.path, root=root, size=size)
            verify_opening(opening)
            return opening
    alone = Commitment.of([Leaf(None, None, key.key_id)])
    if roots and (alone.root, alone.size) not in roots:
        raise CommitmentError(
            "the commitment that the case recorded names accounts, months or more marks: give its list of leaves as "
            "--leaves, to open the key in it"
        )
    return _by_leaves(alone, key)


def _by_leaves(commitment: Commitment, key: Key) -> Opening:
    leaf = next((leaf for leaf in commitment.leaves if leaf.key_id == key.key_id), None)
    if leaf is None:
        raise CommitmentError(f"key {key.short_id} is not among the leaves; give those of its commitment")
    return commitment.open(key, leaf.account, leaf.epoch)


def _plans(held: Held) -> list[Plan]:
    """The plans that the case recorded, the last one first."""
    found = []
    for _, entry in held.log.of("planned"):
        (name,) = entry.subjects
        found.append(Plan.from_json(canonical.loads(held.file(name), name)))
    return found[::-1]
