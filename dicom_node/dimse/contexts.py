"""Which presentation contexts are accepted: every storage SOP class in every transfer syntax.

Objects are kept as received and decoded elsewhere, so the receiver need not know a transfer syntax to take it. Nor
need it know a SOP class: private ones and those younger than our dictionary are stored like any other. Only what
the dictionary knows not to be storage is left to the services that speak it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache, lru_cache

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext, build_context

VERIFICATION = "1.2.840.10008.1.1"
_NEVER_SENT = frozenset({"MediaStorageDirectoryStorage", "StorageServiceClass"})


@cache
def is_storable(sop_class: str) -> bool:
    """Whether objects of this SOP class may be sent by C-STORE, as far as the DICOM dictionary (PS3.6 A) knows."""
    uid = UID(sop_class)
    if not uid.type:
        return True
    keyword = uid.keyword
    return (
        uid.type == "SOP Class"
        and "Storage" in keyword
        and not keyword.startswith("StorageCommitment")
        and keyword not in _NEVER_SENT
    )


def accepted(proposed: Iterable[PresentationContext], classes: Collection[str] = ()) -> list[PresentationContext]:
    """The contexts an acceptor supports in answer to those proposed: Verification, and storage as proposed.

    Where ``classes`` are given only these SOP classes are taken. The transfer syntaxes keep the sender's order, so that
    what it prefers is what is agreed upon.
    """
    asked = tuple((str(context.abstract_syntax), *map(str, context.transfer_syntax)) for context in proposed)
    return list(_accepted(asked, tuple(classes)))


@lru_cache(32)
def _accepted(proposed: tuple[tuple[str, ...], ...], classes: tuple[str, ...]) -> tuple[PresentationContext, ...]:
    """Of abstract syntaxes, each with its transfer syntaxes. A peer proposes the same each time."""
    syntaxes: dict[str, dict[str, None]] = {}
    for abstract, *transfer in proposed:
        if is_storable(abstract) and (not classes or abstract in classes):
            syntaxes.setdefault(abstract, {}).update(dict.fromkeys(transfer))
    storage = [build_context(abstract, list(transfer)) for abstract, transfer in syntaxes.items() if transfer]
    return (build_context(VERIFICATION), *storage)
