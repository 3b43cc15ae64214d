"""What a lane makes of a peer that does not take an encoding."""

import pytest
from deliveries import Bench, ScriptedPeer
from encoding_workers import DIGEST, encode_all, images
from studies_of_results import Clinic

from dicom_node.archive import refusals
from dicom_node.domain.profile import Profile
from dicom_node.domain.sending import OutgoingObject
from dicom_node.settings import DeliverySettings, NodeSettings, PeerSettings, Settings

LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"


@pytest.fixture
def bench(clinic: Clinic) -> Bench:
    """A peer that should get label maps, else BINARY, with a result on its way."""
    entry = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104, "check": False}
    peer = PeerSettings(name="pacs", results=("labelmap", "binary"), **entry)
    delivery = DeliverySettings(verify_after_seconds=0)
    settings = Settings(node=NodeSettings(data_dir=clinic.data_dir), peers=(peer,), delivery=delivery)
    taken = clinic.arrive(images())
    clinic.commit(clinic.plan(model_digest=DIGEST, destinations=("pacs",)), taken, profile=Profile.LABELMAP)
    return Bench(clinic.database, settings, ScriptedPeer())


def refuse(reason: str, sop_class: str = LABELMAP) -> ScriptedPeer:
    def answer(each: OutgoingObject) -> str:
        return reason if each.sop_class_uid == sop_class else ""

    return ScriptedPeer(answer)


def test_what_the_peer_takes_is_sent_whole(bench: Bench, clinic: Clinic) -> None:
    bench.run()
    assert clinic.states() == [("pacs", "present")]
    assert [len(objects) for objects in bench.peer.associations] == [1, 1], "the Segmentation alone, then the report"


def test_nothing_of_a_set_is_sent_whose_encoding_is_refused(bench: Bench, clinic: Clinic) -> None:
    bench.scripted = refuse("context-refused")
    bench.run()
    assert clinic.states() == [("pacs", "cancelled")]
    assert not bench.peer.held
    assert encode_all(clinic) == ["done"]
    bench.run()
    assert clinic.states() == [("pacs", "cancelled"), ("pacs", "present")]
    assert bench.peer.held == {made.sop_uid for made in bench.parcels.all()[1].artifacts}


def test_a_refusal_by_status_counts_once_it_is_the_last_word(bench: Bench, clinic: Clinic) -> None:
    bench.scripted = refuse("object-refused")
    bench.run(2)
    assert clinic.states() == [("pacs", "due")]
    bench.run()
    assert clinic.states() == [("pacs", "cancelled")]


@pytest.mark.parametrize("reason", ["out-of-resources", "peer-failure", "lost"])
def test_other_trouble_is_no_refusal(bench: Bench, clinic: Clinic, reason: str) -> None:
    bench.scripted = refuse(reason)
    bench.run(5)
    assert clinic.states() == [("pacs", "due")]
    assert not bench.peer.held, "the report waits for its Segmentation"


def test_what_it_does_not_know_is_remembered_until_it_takes_it(bench: Bench, clinic: Clinic) -> None:
    bench.scripted = refuse("context-refused")
    bench.run()
    (known,) = refusals.all_of(clinic.database)
    assert (known.destination, known.profile, known.why) == (
        "pacs",
        Profile.LABELMAP,
        "pacs did not take the SEG: context-refused",
    )
    assert refusals.lately(clinic.database, 1.0) == {"pacs": {Profile.LABELMAP}}
    assert refusals.lately(clinic.database, 0.0) == {}, "it is tried again"
    encode_all(clinic)
    bench.run()
    assert refusals.lately(clinic.database, 1.0), "BINARY was taken, which says nothing of label maps"
    job_id = clinic.plan(model_digest=DIGEST, destinations=("pacs",), rule="again", key="ef" * 32)
    clinic.commit(job_id, images(), profile=Profile.LABELMAP)
    bench.peer.answer = lambda each: ""
    bench.run()
    assert not refusals.all_of(clinic.database)


def test_the_refusal_of_one_object_says_nothing_of_the_next(bench: Bench, clinic: Clinic) -> None:
    bench.scripted = refuse("object-refused")
    bench.run(3)
    assert clinic.states() == [("pacs", "cancelled")]
    assert not refusals.all_of(clinic.database)


def test_a_peer_that_takes_neither_is_a_matter_for_a_person(bench: Bench, clinic: Clinic) -> None:
    bench.scripted = ScriptedPeer(lambda each: "context-refused" if ".66." in each.sop_class_uid else "")
    bench.run()
    encode_all(clinic)
    bench.run(3)
    assert clinic.states() == [("pacs", "cancelled"), ("pacs", "refused")]
