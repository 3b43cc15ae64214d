from __future__ import annotations

import pytest
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import build_context, negotiate_as_acceptor
from pynetdicom.sop_class import _QR_CLASSES, _STORAGE_CLASSES, _UNIFIED_PROCEDURE_STEP_CLASSES

from dicom_node.dimse.contexts import VERIFICATION, accepted, is_storable

CT = "1.2.840.10008.5.1.4.1.1.2"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
J2K, JPEG_XL, HTJ2K, BIG, PRIVATE = (
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.2",
    "1.2.840.113619.5.2",
)


def negotiate(*proposals: tuple[str, list[str]]) -> list[tuple[int, str]]:
    """Result and transfer syntax that each proposed context gets."""
    proposed = [build_context(abstract, transfer) for abstract, transfer in proposals]
    for number, context in enumerate(proposed):
        context.context_id = 2 * number + 1
    results, _ = negotiate_as_acceptor(proposed, accepted(proposed))
    return [(int(cx.result), str(cx.transfer_syntax[0])) for cx in results]


@pytest.mark.parametrize("abstract", sorted(_STORAGE_CLASSES.values()))
def test_every_storage_class_pynetdicom_knows_is_storable(abstract: str) -> None:
    assert is_storable(abstract)


@pytest.mark.parametrize(
    "abstract",
    [
        LABELMAP,
        "1.2.840.10008.5.1.4.1.1.5",  # Nuclear Medicine, retired
        "1.3.12.2.1107.5.9.1",  # Siemens CSA Non-Image
        "1.2.840.113619.4.27",
        "1.2.840.10008.5.1.4.1.1.999.1",
    ],
)
def test_young_retired_and_private_classes_are_storable(abstract: str) -> None:
    assert is_storable(abstract)


@pytest.mark.parametrize(
    "abstract",
    [
        *sorted(_QR_CLASSES.values()),
        *sorted(_UNIFIED_PROCEDURE_STEP_CLASSES.values()),
        VERIFICATION,
        "1.2.840.10008.1.20.1",
        "1.2.840.10008.1.3.10",
        "1.2.840.10008.5.1.4.31",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.4.2",
    ],
)
def test_what_is_known_not_to_be_storage_is_not(abstract: str) -> None:
    assert not is_storable(abstract)


@pytest.mark.parametrize("transfer", [J2K, JPEG_XL, HTJ2K, BIG, PRIVATE, "1.2.3.4.5"])
@pytest.mark.parametrize("abstract", [CT, LABELMAP, "1.2.3.4"])
def test_any_transfer_syntax_is_taken(abstract: str, transfer: str) -> None:
    assert negotiate((abstract, [transfer])) == [(0, transfer)]


def test_the_order_of_the_sender_counts() -> None:
    assert negotiate((CT, [J2K, "1.2.840.10008.1.2"])) == [(0, J2K)]
    assert negotiate((CT, ["1.2.840.10008.1.2", J2K])) == [(0, "1.2.840.10008.1.2")]


def test_one_class_in_several_contexts_gets_one_syntax_each() -> None:
    assert negotiate((CT, [J2K]), (CT, [BIG]), (CT, [PRIVATE])) == [(0, J2K), (0, BIG), (0, PRIVATE)]


def test_verification_is_answered_and_query_is_refused() -> None:
    results = negotiate((VERIFICATION, ["1.2.840.10008.1.2"]), ("1.2.840.10008.5.1.4.1.2.2.1", ["1.2.840.10008.1.2"]))
    assert [result for result, _ in results] == [0, 3]


def test_all_contexts_of_a_usual_sender_are_accepted() -> None:
    proposals = [(str(cx.abstract_syntax), list(map(str, cx.transfer_syntax))) for cx in AllStoragePresentationContexts]
    assert {result for result, _ in negotiate(*proposals[:128])} == {0}
