"""Sends files to a peer by C-STORE, as they lie on the disk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from dicom_node.archive.outgoing import open_data_set, unsendable
from dicom_node.dimse.associate import MAXIMUM_CONTEXTS, NO_FILES, Association, Proposal
from dicom_node.dimse.connect import name
from dicom_node.dimse.reencode import OTHERS, data_set_in, in_words
from dicom_node.domain.sending import OutgoingObject, SendOutcome, describe, reason_of, stored
from dicom_node.errors import InputError, PeerError
from dicom_node.settings import PeerSettings, TlsSettings

Paid = Callable[[int], None]


def _unlimited(size: int) -> None:
    """No limit."""


class Sender:
    """C-STORE to peers."""

    def __init__(self, timeout_s: float = 60.0, tls: TlsSettings = NO_FILES) -> None:
        self._timeout_s = timeout_s  # for the connection, and for each answer of the peer
        self._tls = tls  # for peers that want it

    def send(self, peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject]) -> list[SendOutcome]:
        """Send the objects, and return what became of them, in the order of ``objects``: see :meth:`outcomes`.

        Raises:
            PeerError: the first association cannot be opened, so nothing was sent.
        """
        return list(self.outcomes(peer, calling_ae, objects))

    def outcomes(
        self, peer: PeerSettings, calling_ae: str, objects: Sequence[OutgoingObject], paid: Paid = _unlimited
    ) -> Generator[SendOutcome, None, None]:
        """Send the objects in order, over one association as long as 128 presentation contexts are enough.

        Each outcome comes as soon as it is known. When an association is lost, the object under way and those
        after it are reported as not sent, these with the reason ``not-sent``; the one under way may nevertheless
        have arrived. Closing the iterator early aborts the association. ``paid`` is called with the size of each
        piece before it goes, and may wait.

        Raises:
            PeerError: the first association cannot be opened, so nothing was sent.
        """
        for number, group in enumerate(_groups(objects)):
            proposals = list(dict.fromkeys(proposal for each in group for proposal in _proposals(each)))
            try:
                association = Association(peer, calling_ae, proposals, timeout_s=self._timeout_s, tls=self._tls)
            except PeerError as error:
                if number == 0:
                    raise
                yield _not_sent(group[0], error, error.reason)
                yield from (_not_sent(each, error) for each in group[1:])
            else:
                yield from _send_over(association, peer, group, paid)


def _send_over(
    association: Association, peer: PeerSettings, objects: Sequence[OutgoingObject], paid: Paid
) -> Iterator[SendOutcome]:
    left = iter(objects)
    with association:  # closed early, it is aborted
        for each in left:
            try:
                outcome = _send_one(association, peer, each, paid)
            except PeerError as error:
                association.abort()
                yield _not_sent(each, error, error.reason)
                yield from (_not_sent(other, error) for other in left)
                return
            yield outcome


def _send_one(association: Association, peer: PeerSettings, each: OutgoingObject, paid: Paid) -> SendOutcome:
    uid = each.sop_instance_uid
    proposals = _proposals(each)
    agreed = next((found for proposal in proposals if (found := association.agreed(proposal))), None)
    if agreed is None:
        why = association.refused(proposals[0])
        return SendOutcome(
            uid,
            None,
            False,
            f"{name(peer)} does not take SOP class {each.sop_class_uid} in transfer syntax "
            f"{each.transfer_syntax_uid}: {why}",
            "context-refused",
        )
    try:
        as_stored = agreed.transfer_syntax == each.transfer_syntax_uid
        file = open_data_set(each) if as_stored else data_set_in(agreed.transfer_syntax, each.path, each.coercion)
    except (InputError, OSError) as error:
        return unsendable(each, error)
    with file:
        association.store(agreed.id, each.sop_class_uid, uid, file, paid)
    answer, _ = association.response()
    status = answer.number(0x0900)
    if status is None:
        return SendOutcome(uid, None, False, f"{name(peer)} answered without a status", "peer-failure")
    comment = answer.elements.get(0x0902, b"").strip(b"\0 ").decode("latin-1")
    note = "" if as_stored else in_words(each.transfer_syntax_uid, agreed.transfer_syntax)
    return SendOutcome(uid, status, stored(status), describe(status, comment), reason_of(status), note)


def _not_sent(each: OutgoingObject, error: PeerError, reason: str = "not-sent") -> SendOutcome:
    return SendOutcome(each.sop_instance_uid, None, False, f"not sent: {error.message}", reason)


def _proposals(each: OutgoingObject) -> tuple[Proposal, ...]:
    """The presentation contexts it may go by: its own transfer syntax, in which it is sent as it is, comes first.

    Each has one transfer syntax, so that the peer cannot choose the other where it takes the own.
    """
    syntaxes = (each.transfer_syntax_uid, *OTHERS.get(each.transfer_syntax_uid, ()))
    return tuple(Proposal(each.sop_class_uid, (syntax,)) for syntax in syntaxes)


def _groups(objects: Sequence[OutgoingObject]) -> Iterator[list[OutgoingObject]]:
    """Cut the sequence where more contexts are needed than one association may have."""
    group: list[OutgoingObject] = []
    needed: set[Proposal] = set()
    for each in objects:
        more = needed.union(_proposals(each))
        if len(more) > MAXIMUM_CONTEXTS:
            yield group
            group, more = [], set(_proposals(each))
        needed = more
        group.append(each)
    if group:
        yield group
