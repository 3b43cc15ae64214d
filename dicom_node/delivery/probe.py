"""What a peer accepts, asked without writing anything to it: contexts by negotiation, searches for what nobody has.

A context that is accepted is a promise, no proof: some peers accept all there are and refuse objects one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.dimse.associate import Association, Proposal
from dicom_node.dimse.contexts import VERIFICATION
from dicom_node.dimse.find import FIND, instances_held
from dicom_node.domain.profile import PRESETS, Companion, Profile
from dicom_node.errors import PeerError
from dicom_node.exchange import qido, stow
from dicom_node.exchange.web_client import open_client
from dicom_node.settings import PeerSettings, Settings

_NOBODY = "2.25.0"  # a UID that no study, series or object has
_EXPLICIT, _RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
_IMPLICIT, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
_SYNTAXES = {
    _EXPLICIT: "Explicit VR Little Endian",
    _IMPLICIT: "Implicit VR Little Endian",
    _RLE: "RLE Lossless",
    _DEFLATED: "Deflated Explicit VR Little Endian",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """Objects that we send."""

    name: str
    sop_class: str
    syntaxes: tuple[str, ...]  # in which we write or can send them; the first is that of our files


KINDS = (
    Kind("SEG, binary or fractional", "1.2.840.10008.5.1.4.1.1.66.4", (_EXPLICIT, _IMPLICIT)),
    Kind("SEG, label map", "1.2.840.10008.5.1.4.1.1.66.7", (_RLE,)),
    Kind("report (Comprehensive 3D SR)", "1.2.840.10008.5.1.4.1.1.88.34", (_EXPLICIT, _IMPLICIT)),
    Kind("map (Parametric Map)", "1.2.840.10008.5.1.4.1.1.30", (_EXPLICIT, _IMPLICIT)),
    Kind("key images (Key Object Selection)", "1.2.840.10008.5.1.4.1.1.88.59", (_EXPLICIT, _IMPLICIT)),
    Kind("presentation state (grayscale)", "1.2.840.10008.5.1.4.1.1.11.1", (_EXPLICIT, _IMPLICIT)),
    Kind("summary (Secondary Capture)", "1.2.840.10008.5.1.4.1.1.7", (_EXPLICIT, _IMPLICIT)),
    Kind("notice (Basic Text SR)", "1.2.840.10008.5.1.4.1.1.88.11", (_EXPLICIT, _IMPLICIT)),
    Kind("CT image, passed on", "1.2.840.10008.5.1.4.1.1.2", (_EXPLICIT, _IMPLICIT)),
    Kind("MR image, passed on", "1.2.840.10008.5.1.4.1.1.4", (_EXPLICIT, _IMPLICIT)),
)
_SEG, _LABELMAP, _SR, _PM, _KO, _PR, _SC = (kind.sop_class for kind in KINDS[:7])
SERVICES = {
    "C-ECHO": VERIFICATION,
    "C-FIND (Study Root)": "1.2.840.10008.5.1.4.1.2.2.1",
    "C-MOVE (Study Root)": "1.2.840.10008.5.1.4.1.2.2.2",
    "C-GET (Study Root)": "1.2.840.10008.5.1.4.1.2.2.3",
    "Storage Commitment": "1.2.840.10008.1.20.1",
    "modality worklist": "1.2.840.10008.5.1.4.31",
}
_FIND, _COMMITMENT, _WORKLIST = "C-FIND (Study Root)", "Storage Commitment", "modality worklist"
_EVERYTHING = "images-only"
_COMPANION_CLASS = {Companion.SUMMARY: _SC, Companion.KEY_IMAGES: _KO, Companion.PRESENTATION: _PR}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer says to one thing that was asked of it."""

    what: str
    accepted: bool | None  # None: it cannot be told without writing
    how: str  # transfer syntaxes, or why not, in words


@dataclass(frozen=True, slots=True)
class Advice:
    """What its entry should say, and why."""

    key: str
    value: str | list[str] | bool
    why: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of it."""

    objects: tuple[Answer, ...]
    services: tuple[Answer, ...]
    advice: tuple[Advice, ...]
    takes_results: bool


def probe(settings: Settings, peer: PeerSettings, timeout_s: float) -> Probe:
    """Ask a peer what it accepts.

    Raises:
        PeerError: it cannot be reached, or does not let us in.
    """
    if peer.kind not in ("dicom", "dicomweb"):
        raise PeerError(
            f"{peer.name} is of kind {peer.kind!r}: it negotiates nothing",
            reason="no-probe",
            remedy="peers echo tries it",
        )
    return _probe_web(settings, peer, timeout_s) if peer.kind == "dicomweb" else _probe_dicom(settings, peer, timeout_s)


def _probe_dicom(settings: Settings, peer: PeerSettings, timeout_s: float) -> Probe:
    storing = [Proposal(kind.sop_class, (syntax,)) for kind in KINDS for syntax in kind.syntaxes]
    serving = {name: Proposal(sop_class, FIND.transfer_syntaxes) for name, sop_class in SERVICES.items()}
    proposals = list(dict.fromkeys((*storing, *serving.values())))
    with Association(peer, settings.node.ae_title, proposals, timeout_s=timeout_s, tls=settings.tls) as association:
        taken = {each: association.agreed(each) is not None for each in proposals}
        why = {each: association.refused(each) for each in proposals if not taken[each]}
    objects = tuple(_object(kind, taken, why) for kind in KINDS)
    services = tuple(
        Answer(name, taken[each], "accepted" if taken[each] else why[each]) for name, each in serving.items()
    )
    if taken[serving[_FIND]]:
        searched = _search(settings, peer, timeout_s)
        services = tuple(searched if each.what == _FIND else each for each in services)
    accepted = {kind.sop_class for kind, each in zip(KINDS, objects, strict=True) if each.accepted}
    offered = {each.what for each in services if each.accepted}
    return Probe(objects, services, tuple(_advise(peer, accepted, offered)), bool(accepted & {_SEG, _LABELMAP, _SC}))


def _object(kind: Kind, taken: Mapping[Proposal, bool], why: Mapping[Proposal, str]) -> Answer:
    proposals = {syntax: Proposal(kind.sop_class, (syntax,)) for syntax in kind.syntaxes}
    accepted = [_SYNTAXES[syntax] for syntax, each in proposals.items() if taken[each]]
    return Answer(kind.name, bool(accepted), ", ".join(accepted) or why[proposals[kind.syntaxes[0]]])


def _search(settings: Settings, peer: PeerSettings, timeout_s: float) -> Answer:
    """Whether it answers the search by which deliveries are verified, here for objects of a series that nobody has."""
    try:
        held = instances_held(peer, settings.node.ae_title, _NOBODY, [_NOBODY], timeout_s, tls=settings.tls)
    except PeerError as error:
        return Answer(_FIND, False, error.message)
    if held:
        return Answer(_FIND, False, f"it answers a search for what nobody has with {len(held)} objects")
    return Answer(_FIND, True, "answers a search for objects")


def _advise(peer: PeerSettings, accepted: set[str], offered: set[str]) -> Sequence[Advice]:
    chosen, why = _results(accepted)
    advice = [Advice("results", chosen, why)] if chosen else []
    if _COMMITMENT in offered:
        advice.append(Advice("verify", "commitment", "it takes responsibility for objects"))
    elif _FIND in offered:
        advice.append(Advice("verify", "find", "it has no Storage Commitment, and can be searched"))
    else:
        advice.append(Advice("verify", "none", "it has no Storage Commitment and cannot be searched"))
    if _FIND not in offered and peer.is_checked:
        advice.append(Advice("check", False, "it cannot be asked how it has the images"))
    if _WORKLIST in offered and not peer.worklist:
        advice.append(Advice("worklist", True, "it serves a worklist, which tells how urgent orders are"))
    return advice


def _results(accepted: set[str]) -> tuple[str | list[str], str]:
    """``results`` of its entry: what it accepts and no more; the name of the preset where it is that."""
    encodings = [Profile.BINARY] if _SEG in accepted else [Profile.LABELMAP] if _LABELMAP in accepted else []
    shown = bool(encodings) and _SR in accepted
    wanted = {Companion.KEY_IMAGES, Companion.SUMMARY}
    if not shown:
        wanted.add(Companion.PRESENTATION)
    beside = [each for each in Companion if each in wanted and _COMPANION_CLASS[each] in accepted]
    if not encodings:
        return [], ""
    why = "accepted; leave out summary once its viewers are seen to show SEG and SR"
    if not shown:
        why = "it does not take reports (SR): allow that class in it"
    elif _LABELMAP in accepted and _SEG in accepted:
        why += '; "labelmap" before "binary" where they draw label maps, which are 100 times smaller'
    given = [*encodings, *beside]
    # The other presets are named after viewers, which nobody has seen yet.
    return _EVERYTHING if given == list(PRESETS[_EVERYTHING]) else [str(each) for each in given], why


def _probe_web(settings: Settings, peer: PeerSettings, timeout_s: float) -> Probe:
    with open_client(peer, settings.tls, timeout_s) as client:
        qido.echo(client, peer)
        try:
            held = len(qido.instances_held(client, peer, _NOBODY, [_NOBODY]))
            told = "answers a search for objects" if not held else "shows objects that nobody has"
            searched = Answer("QIDO-RS instances", not held, told)
        except PeerError as error:
            searched = Answer("QIDO-RS instances", False, error.message)
        status = stow.offered(client, peer)
    # Whoever knows STOW-RS refuses a request without objects as empty, others as unknown.
    told = f"answers {status} to a request without objects"
    stored = Answer("STOW-RS", status not in (401, 403, 404, 405, 501), told)
    services = (Answer("QIDO-RS studies", True, "answers a search for a study"), searched, stored)
    unknown = tuple(Answer(kind.name, None, "a DICOMweb server tells it only when it stores") for kind in KINDS)
    verify = Advice(
        "verify",
        "find" if searched.accepted else "none",
        "it can be searched for objects" if searched.accepted else "it cannot be searched for objects",
    )
    return Probe(unknown, services, (verify,), bool(stored.accepted))


def plain(found: Probe) -> dict[str, Any]:
    """As plain data."""
    return {
        "objects": [{"what": each.what, "accepted": each.accepted, "how": each.how} for each in found.objects],
        "services": [{"what": each.what, "accepted": each.accepted, "how": each.how} for each in found.services],
        "advice": [{"key": each.key, "value": each.value, "why": each.why} for each in found.advice],
        "takes_results": found.takes_results,
    }
