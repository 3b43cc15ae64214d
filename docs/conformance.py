"""Writes the tables of ``conformance.md`` from the code: ``python docs/conformance.py``, in the root of the checkout.

A table stands between ``<!-- table: name -->`` and ``<!-- end -->``; what is around it is written by hand. Roles,
contexts, rejections and statuses are asked of the code that decides on them, attributes are read from results.
"""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

CHECKOUT = Path(__file__).parents[1]
DOCUMENT = Path(__file__).with_suffix(".md")
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests")]

import conformance_results as results  # noqa: E402
from fastapi.routing import APIRoute  # noqa: E402
from pydicom._uid_dict import UID_dictionary  # noqa: E402
from pydicom.charset import python_encoding  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import UID  # noqa: E402
from pynetdicom.presentation import build_context  # noqa: E402

from dicom_node.archive import dicom_json  # noqa: E402
from dicom_node.dimse import associate, command, commitment, commitment_request, find, send, tls  # noqa: E402
from dicom_node.dimse.admission import PERMANENT, TRANSIENT, Caller, Rejection, admit, congested, full  # noqa: E402
from dicom_node.dimse.contexts import VERIFICATION, accepted, is_storable  # noqa: E402
from dicom_node.domain import identifiers, sending  # noqa: E402
from dicom_node.domain.commitment import PUSH_MODEL, FailureReason  # noqa: E402
from dicom_node.domain.commitment_answer import Action, Answer, judge  # noqa: E402
from dicom_node.reception import stow  # noqa: E402
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, Settings, TlsSettings  # noqa: E402
from dicom_node.web import stow as web_stow  # noqa: E402
from dicom_node.web.dicomweb import query, search  # noqa: E402
from dicom_node.web.dicomweb import routes as dicomweb_routes  # noqa: E402

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE = "1.2.826.0.1.3680043.10.1"
Cells = Sequence[object]


def main() -> None:
    """Write the document anew."""
    DOCUMENT.write_text(rendered(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def rendered(text: str) -> str:
    """The document with all its tables as the code gives them."""
    found = re.findall(r"<!-- table: (\S+) -->", text)
    if sorted(found) != sorted(TABLES):
        raise SystemExit(f"{DOCUMENT.name} must hold each of these tables once: {', '.join(sorted(TABLES))}")
    pattern = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}", text)


def table(heads: Cells, rows: Iterable[Cells]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def services() -> str:
    """Which SOP classes, and in which role."""
    rows: list[Cells] = [
        (named(VERIFICATION), "yes", "yes"),
        ("Storage: every storage SOP class (8.8), private ones too", "the next three", _taken([CT, PRIVATE])),
    ]
    rows += [(named(made.SOPClassUID), "yes", _taken([made.SOPClassUID])) for made in results.encoded()]
    rows += [
        (named(find.STUDY_ROOT_FIND), "yes", _taken([find.STUDY_ROOT_FIND])),
        (
            named(PUSH_MODEL),
            'of peers with `verify = "commitment"`',
            'for peers with `commitment = "archive"` or `"relay"`',
        ),
    ]
    return table(("SOP class", "as SCU", "as SCP"), rows)


def _taken(classes: Sequence[str]) -> str:
    return "yes" if all(contexts_for(each) for each in classes) else "no"


def contexts_for(sop_class: str, syntaxes: Sequence[str] = ("1.2.840.10008.1.2",)) -> list[str]:
    """Transfer syntaxes that are accepted for a SOP class of those proposed."""
    answer = accepted([build_context(sop_class, list(syntaxes))])
    return [str(syntax) for each in answer if each.abstract_syntax == sop_class for syntax in each.transfer_syntax]


def acceptor_contexts() -> str:
    """Presentation contexts that are accepted."""
    every = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]
    for sop_class in (CT, PRIVATE):
        if contexts_for(sop_class, [*every, PRIVATE]) != [*every, PRIVATE]:
            raise SystemExit("not every transfer syntax is accepted any more: say so in the document")
    verification = accepted([])[0].transfer_syntax
    rows = [
        (named(VERIFICATION), "<br>".join(map(named, verification))),
        ("every storage SOP class", f"as proposed: the {len(every)} of PS3.6, and private ones"),
        (named(PUSH_MODEL), "<br>".join(map(named, build_context(PUSH_MODEL).transfer_syntax))),
    ]
    heads = ("abstract syntax", "transfer syntaxes", "role", "extended negotiation")
    roles = ["SCP", "SCP", "SCP; SCU by role selection"]
    return table(heads, [(*row, role, "none") for row, role in zip(rows, roles, strict=True)])


def requestor_contexts() -> str:
    """Presentation contexts that are proposed."""
    queried = find.FIND
    rows: list[Cells] = [(named(VERIFICATION), named("1.2.840.10008.1.2"))]
    for made in results.encoded():
        meta = made.file_meta
        outgoing = sending.OutgoingObject(Path(), made.SOPClassUID, made.SOPInstanceUID, meta.TransferSyntaxUID)
        proposals = send._proposals(outgoing)
        rows += [(named(each.abstract_syntax), named(*each.transfer_syntaxes)) for each in proposals]
    rows += [(named(queried.abstract_syntax), "<br>".join(map(named, queried.transfer_syntaxes)))]
    asked = commitment_request._PROPOSAL
    rows += [(named(asked.abstract_syntax), "<br>".join(map(named, asked.transfer_syntaxes)))]
    reported = (named(PUSH_MODEL), "<br>".join(map(named, build_context(PUSH_MODEL).transfer_syntax)))
    told = [*((*row, "SCU") for row in rows), (*reported, "SCP, by role selection")]
    return table(("abstract syntax", "transfer syntaxes", "role"), told)


def limits() -> str:
    """Of associations; the settings' defaults."""
    node, delivery = NodeSettings(), DeliverySettings()
    told = [
        ("most associations at a time, as acceptor", node.maximum_associations, "node.maximum_associations"),
        ("the same, of one peer", "any number", "peers.maximum_associations"),
        ("largest PDU taken", f"{node.maximum_pdu_size} bytes", "node.maximum_pdu_size"),
        ("largest PDU sent", f"{associate._MAXIMUM_PDU} bytes, or less where the peer says so", ""),
        ("largest data set taken", f"{node.maximum_object_bytes} bytes", "node.maximum_object_bytes"),
        ("asynchronous operations", "not negotiated: one at a time", ""),
        ("ARTIM timer", f"{node.association_seconds:g} s", "node.association_seconds"),
        ("a PDU that is not whole", f"aborted after {node.pdu_seconds:g} s", "node.pdu_seconds"),
        ("silence", f"aborted after {node.idle_seconds:g} s", "node.idle_seconds"),
        ("slowest sender", f"{node.slowest_bytes_per_second} bytes/s", "node.slowest_bytes_per_second"),
        ("wait for an answer of a peer", f"{delivery.timeout_seconds:g} s", "delivery.timeout_seconds"),
        ("presentation contexts proposed", f"{associate.MAXIMUM_CONTEXTS} at most", ""),
    ]
    return table(("", "default", "setting"), [(what, value, key and f"`{key}`") for what, value, key in told])


def implementation() -> str:
    """Who we say we are."""
    return table(
        ("", "value"),
        (
            ("Application Context Name", associate._APPLICATION_CONTEXT),
            ("Implementation Class UID", identifiers.IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", identifiers.IMPLEMENTATION_VERSION_NAME),
            ("AE title", f"{NodeSettings().ae_title}, unless `node.ae_title` says otherwise"),
        ),
    )


def rejections() -> str:
    """How association requests are rejected: those that are made here, and what is answered."""
    peer = PeerSettings(name="ct", ae_title="CT", host="10.0.0.5", port=104, addresses=("10.0.0.5",))
    secured = peer.model_copy(update={"addresses": (), "tls": True})
    bound = secured.model_copy(update={"certificate": "CN=ct"})
    own = NodeSettings().ae_title
    asked = (
        ("the called AE title is not ours", admit(Settings(), Caller("CT", "OTHER", "10.0.0.5"))),
        ("the calling AE title is no peer's", admit(Settings(), Caller("CT", own, "10.0.0.5"))),
        ("a peer calls from another address", admit(Settings(peers=(peer,)), Caller("CT", own, "10.0.0.9"))),
        ("a peer of TLS calls without it", admit(_settings(secured), Caller("CT", own, "10.0.0.5"))),
        ("a peer shows another certificate", admit(_settings(bound), Caller("CT", own, "10.0.0.5", secured=True))),
        ("too many associations, or the disk is nearly full", full("", "")),
        ("the request cannot be judged", congested()),
    )
    outcomes = {PERMANENT: "permanent", TRANSIENT: "transient"}
    sources = {1: "service user", 3: "service provider, presentation"}
    rows = []
    for when, told in asked:
        if not isinstance(told, Rejection):
            raise SystemExit(f"it is admitted when {when}: say so in the document")
        result, source = outcomes[told.result], sources[told.source]
        rows.append((f"{told.result} ({result})", f"{told.source} ({source})", told.diagnostic, when))
    return table(("result", "source", "reason", "when"), rows)


def _settings(peer: PeerSettings) -> Settings:
    return Settings(peers=(peer,), tls=TlsSettings(certificate=Path("node.pem"), key=Path("node.key")))


_STORE_STATUSES = {
    command.Status.SUCCESS: "the data set and its directory entry are on the disk (fsync)",
    command.Status.SOP_CLASS_NOT_SUPPORTED: "the SOP class of the command is not that of its presentation context",
    command.Status.OUT_OF_RESOURCES: "the disk is full or fails, or the object is larger than is taken",
    command.Status.CANNOT_UNDERSTAND: "the command names no SOP class or instance, or there is no data set",
}


def store_statuses() -> str:
    """Answers to C-STORE."""
    rows = [
        (status.name.replace("_", " ").lower(), f"{status:04X}", _STORE_STATUSES[status]) for status in command.Status
    ]
    return table(("service status", "code", "when"), rows)


def sent_statuses() -> str:
    """What we make of the answers to our C-STORE."""
    codes: dict[str, list[str]] = {}
    judged = ((status, _behaviour(status)) for status in range(1 << 16))
    for behaviour, group in groupby(judged, key=lambda each: each[1]):
        statuses = [f"{status:04X}" for status, _ in group]
        codes.setdefault(behaviour, []).append("-".join(dict.fromkeys((statuses[0], statuses[-1]))))
    return table(("codes", "behaviour"), [(", ".join(spans), behaviour) for behaviour, spans in codes.items()])


def _behaviour(status: int) -> str:
    reason = sending.reason_of(status)
    if sending.stored(status):
        return "the peer has it; it is not sent again"
    if reason in sending.REFUSALS:
        tries = DeliverySettings().refused_after_tries
        return f"`{reason}`: after {tries} such answers in a row (`delivery.refused_after_tries`) a person must act"
    return f"`{reason}`: sent again, with growing pauses"


def query_keys() -> str:
    """Keys of the C-FIND that looks for results."""
    asked: list[Dataset] = []
    with (
        patch.object(find, "Association"),
        patch.object(find, "_ask", lambda _, peer, query: asked.append(query) or []),
    ):
        peer = PeerSettings(name="pacs", ae_title="PACS", host="10.0.0.5", port=104)
        find.instances_held(peer, "DICOMNODE", "1.2.3", ["1.2.3.4"])
    rows = []
    for element in asked[0]:
        value = str(element.value)
        match = value if element.VR == "CS" else "unique" if value else "universal"
        rows.append((element.name, str(element.tag), element.VR, match))
    return table(("attribute", "tag", "VR", "value or matching"), rows)


def stow_service() -> str:
    """What STOW-RS takes."""
    routes = [route for route in web_stow.router(Settings()).routes if isinstance(route, APIRoute)]
    paths = [f"`{' '.join(route.methods)} {route.path.replace('study_uid', 'study')}`" for route in routes]
    rows = [
        ("resources", "<br>".join(paths)),
        ("request", f'`multipart/related; type="{stow.DICOM}"`<br>`{stow.DICOM}`'),
        ("response", f"`{stow.DICOM_JSON}`"),
        ("largest request", f"{stow.LARGEST_REQUEST} bytes"),
        ("largest object", f"`node.maximum_object_bytes`: {Settings().node.maximum_object_bytes}"),
        ("parts of a request", f"{stow.MOST_PARTS} at most"),
        ("requests at a time", f"{web_stow.MOST_UPLOADS}; others wait"),
        ("a sender that falls silent", f"given up after {web_stow.SILENT_S:g} s"),
    ]
    return table(("", ""), rows)


def dicomweb_services() -> str:
    """What QIDO-RS and WADO-RS offer."""
    routes = dicomweb_routes.router(SimpleNamespace(settings=Settings(), database=None)).routes  # type: ignore[arg-type]
    shown = {route.path.replace("{where:path}", "{path}") for route in routes if isinstance(route, APIRoute)}
    level = {each: ", ".join(f"({tag[:4]},{tag[4:]})" for tag in query.MANDATORY[each]) for each in query.Level}
    rows = [
        ("resources", "<br>".join(f"`GET {path}`" for path in sorted(shown))),
        *((f"always told of {each.value}", told) for each, told in level.items()),
        ("matches of one answer", f"{query.MOST_MATCHES} at most; Warning 299 where there may be more"),
        ("files read for one search", f"{search.MOST_READ} at most; else 413"),
        ("values in JSON itself", f"binary ones up to {dicom_json.LONGEST_INLINE} bytes; longer ones by BulkDataURI"),
    ]
    return table(("", ""), rows)


def stow_reasons() -> str:
    """Failure Reasons of STOW-RS."""
    meanings = {
        stow.OUT_OF_RESOURCES: "the disk is full or fails, or the object is larger than we take",
        stow.SOP_CLASS_MISMATCH: "file meta information and data set name different SOP classes",
        stow.CANNOT_UNDERSTAND: "no DICOM, cut off, or without what identifies it",
        stow.OTHER_STUDY: "of another study than the address names",
    }
    return table(("code", "when"), [(f"{code:04X}", meaning) for code, meaning in meanings.items()])


_CONSEQUENCES = {
    Action.SEND: "sent again; after 3 times a person must act",
    Action.REFUSE: "a person must act",
    Action.ASK: "asked again, 3 times at most",
    Action.LOOK: "looked for by C-FIND",
}


def commitment_answers() -> str:
    """What follows from the Failure Reasons of a peer that we ask for commitment."""
    rows = []
    for code in (0x0112, 0x0119, 0x0122, 0x0110, 0x0213, 0x0131, 0xFFFF):
        judged = judge(["1.2"], Answer("1.2.3", frozenset(), {"1.2": code}))
        what = judged.words.partition(": 0x")[2][5:]
        rows.append(("any other" if code == 0xFFFF else f"{code:04X} ({what})", _CONSEQUENCES[judged.action]))
    return table(("Failure Reason", "the object is"), rows)


def commitment_statuses() -> str:
    """What an N-ACTION of Storage Commitment is answered, and why objects are refused."""
    answers = [
        (commitment.SUCCESS, "the request is in the ledger; a report follows"),
        (commitment.PROCESSING_FAILURE, "the ledger does not work"),
        (commitment.NO_SUCH_INSTANCE, "of another SOP instance than the well-known one"),
        (commitment.INVALID_ARGUMENT, "no objects, what is no UID, or a Transaction UID that is in use for others"),
        (commitment.NO_SUCH_ACTION, "of another Action Type ID than 1"),
        (commitment.NOT_AUTHORIZED, "of a peer that may report, and not ask"),
    ]
    reasons = {
        FailureReason.NO_SUCH_OBJECT: "we never had it",
        FailureReason.CLASS_INSTANCE_CONFLICT: "it has another SOP class",
        FailureReason.PROCESSING_FAILURE: "its file is missing or altered, it was rejected, or two share its UID",
    }
    rows = [("N-ACTION status", f"{code:04X}", when) for code, when in answers]
    rows += [("Failure Reason", f"{reason:04X}", reasons[reason]) for reason in reasons]
    if set(reasons) != set(FailureReason):
        raise SystemExit("there are other reasons to refuse a commitment: tell them here")
    return table(("", "code", "when"), rows)


def character_sets() -> str:
    """Defined terms that are read."""
    terms = sorted(term for term in python_encoding if re.fullmatch(r"ISO_IR \d+|ISO 2022 IR \d+|GB18030|GBK", term))
    return ", ".join(terms)


def security() -> str:
    """What TLS is negotiated."""
    context = tls.client_context(TlsSettings(), check_host=True)
    versions = {ssl.TLSVersion.TLSv1_2: "1.2, 1.3"}[ssl.TLSVersion(context.minimum_version)]
    defaults = TlsSettings()
    rows = [
        ("versions", versions),
        ("cipher suites of TLS 1.2", f"`{tls.CIPHERS_OF_TLS_1_2}` (OpenSSL's notation)"),
        ("port", f"{defaults.port} (`tls.port`)"),
        ("certificates of peers that connect", f"{defaults.client_certificates} (`tls.client_certificates`)"),
    ]
    return table(("", "TLS"), rows)


def storage_classes() -> str:
    """The storage SOP classes of PS3.6, as the installed dictionary has them."""
    uids = sorted(uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and is_storable(uid))
    return table(("SOP class", "UID"), [(UID(uid).name, uid) for uid in uids])


def named(uid: str) -> str:
    """A UID with its name."""
    return f"{UID(uid).name} {uid}"


TABLES: dict[str, Callable[[], str]] = {
    "services": services,
    "acceptor-contexts": acceptor_contexts,
    "requestor-contexts": requestor_contexts,
    "limits": limits,
    "implementation": implementation,
    "rejections": rejections,
    "store-statuses": store_statuses,
    "commitment-statuses": commitment_statuses,
    "commitment-answers": commitment_answers,
    "sent-statuses": sent_statuses,
    "query-keys": query_keys,
    "stow": stow_service,
    "stow-reasons": stow_reasons,
    "dicomweb": dicomweb_services,
    "character-sets": character_sets,
    "security": security,
    "segmentation": lambda: table(results.HEADS, results.attributes(results.encoded()[0])),
    "report": lambda: table(results.HEADS, results.attributes(results.encoded()[1])),
    "report-content": lambda: "\n".join(results.content(results.encoded()[1])),
    "parametric-map": lambda: table(results.HEADS, results.attributes(results.encoded()[2])),
    "codes": lambda: table(("meaning", "value", "scheme"), results.codes_used()),
    "storage-classes": storage_classes,
}

if __name__ == "__main__":
    main()
