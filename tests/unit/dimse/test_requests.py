from __future__ import annotations

import pytest
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicom_node.dimse.associate import _request
from dicom_node.dimse.framing import MALFORMED
from dicom_node.dimse.requests import read_request


def encoded(calling: str = "SCU") -> bytes:
    contexts = list(AllStoragePresentationContexts)[:128]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    return A_ASSOCIATE_RQ(_request(calling, "DICOMNODE", contexts)).encode()


def told(primitive: object) -> bytes:
    return A_ASSOCIATE_RQ(primitive).encode()


def test_a_request_is_read_as_pynetdicom_reads_it_and_what_an_association_does_to_it_is_its_own() -> None:
    plain = A_ASSOCIATE_RQ()
    plain.decode(encoded())
    first = read_request(encoded()).to_primitive()
    assert told(first) == told(plain.to_primitive()) == encoded()
    first.presentation_context_definition_list.clear()
    first.user_information.clear()
    first.calling_ae_title, first.result = "OTHER", 1
    again = read_request(encoded()).to_primitive()
    assert told(again) == encoded()
    assert again.result is None


def test_another_request_is_another() -> None:
    assert [read_request(encoded(title)).calling_ae_title for title in ("A", "B", "A")] == ["A", "B", "A"]


@pytest.mark.parametrize("cut", [7, 20, 76, 900])
def test_one_that_cannot_be_read_is_an_error_each_time(cut: int) -> None:
    for _ in range(2):
        with pytest.raises(MALFORMED):
            read_request(encoded()[:cut])
