"""What a lane makes of a peer that does not take an encoding."""

import pytest
from deliveries import Bench, ScriptedPeer
from encoding_workers import DIGEST, encode_all, images
from studies_of_results import Clinic

from dicom_node.archive import encodings, refusals
from dicom_node.domain.profile import Companion, Profile
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


def with_companions(clinic: Clinic, results: tuple[str, ...]) -> Bench:
    """A result with a summary and key images on its way to a peer whose entry says so much of what it gets."""
    entry = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104, "check": False}
    peer = PeerSettings(name="pacs", results=results, **entry)
    settings = Settings(
        node=NodeSettings(data_dir=clinic.data_dir), peers=(peer,), delivery=DeliverySettings(verify_after_seconds=0)
    )
    taken = clinic.arrive(images())
    beside = (Companion.SUMMARY, Companion.KEY_IMAGES)
    clinic.commit(clinic.plan(model_digest=DIGEST, destinations=("pacs",)), taken, companions=beside)
    return Bench(clinic.database, settings, ScriptedPeer())


@pytest.mark.parametrize(
    ("results", "kinds"),
    [
        ((), {"seg", "sr", "ko", "sc"}),
        (("binary",), {"seg", "sr"}),
        (("binary", "key-images"), {"seg", "sr", "ko"}),
        (("binary", "summary", "presentation"), {"seg", "sr", "sc"}),
    ],
)
def test_a_peer_gets_the_companions_of_its_entry_and_those_that_every_archive_shows_where_it_says_nothing(
    clinic: Clinic, results: tuple[str, ...], kinds: set[str]
) -> None:
    bench = with_companions(clinic, results)
    whole = bench.parcels.all()[0].artifacts
    bench.run()
    assert clinic.states() == [("pacs", "present")]
    assert {made.kind for made in whole if made.sop_uid in bench.peer.held} == kinds
    assert {made.kind for made in bench.parcels.all()[0].artifacts} == kinds


SUMMARY = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize(("reason", "passes"), [("context-refused", 1), ("object-refused", 3)])
def test_a_peer_that_does_not_take_a_companion_nobody_asked_for_goes_without(
    clinic: Clinic, reason: str, passes: int
) -> None:
    bench = with_companions(clinic, ())
    bench.scripted = refuse(reason, SUMMARY)
    bench.run(passes)
    assert clinic.states() == [("pacs", "present")]
    assert "companion left out" in bench.told(1)
    assert [made.kind for made in bench.parcels.all()[0].artifacts] == ["seg", "sr", "ko"]

    willing = Bench(clinic.database, bench.settings, ScriptedPeer())
    willing.parcels.retry(1, "a person")
    willing.run()
    assert len(willing.peer.held) == 4, "what is sent again is tried whole"


def test_a_companion_that_the_entry_names_is_missed(clinic: Clinic) -> None:
    bench = with_companions(clinic, ("binary", "summary"))
    bench.scripted = refuse("context-refused", SUMMARY)
    bench.run(3)
    assert clinic.states() == [("pacs", "refused")]


def test_what_is_encoded_anew_has_the_same_companions(clinic: Clinic) -> None:
    bench = with_companions(clinic, ("labelmap", "binary", "key-images"))
    with clinic.database.write() as connection:
        encodings.request(connection, 1, Profile.LABELMAP, ["pacs"], "test")
    assert encode_all(clinic, bench.settings) == ["done"]
    assert [made.kind for made in bench.parcels.all()[1].artifacts] == ["seg", "sr", "ko", "sc"]


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
