from dataclasses import replace

import pytest
from encoding_workers import DIGEST, encode_all, images
from studies_of_results import Clinic

from dicom_node.archive.fallback import FallBack, fall_back, next_profile
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.withdrawals import Withdrawal, withdraw
from dicom_node.domain.parcel import Parcel
from dicom_node.domain.profile import Profile
from dicom_node.errors import PeerError

BOTH = (Profile.LABELMAP, Profile.BINARY)
REFUSED = PeerError("pacs did not take the SEG: no such SOP class", reason="context-refused")


def refused(clinic: Clinic) -> Parcel:
    """The parcel of a result as a label map."""
    taken = clinic.arrive(images())
    job_id = clinic.plan(model_digest=DIGEST, destinations=("pacs",))
    clinic.commit(job_id, taken, profile=Profile.LABELMAP)
    return clinic.parcels.all()[0]


def back(clinic: Clinic, parcel: Parcel) -> bool:
    desk = Desk(clinic.desk.store, "NODE")
    return fall_back(clinic.database, desk, FallBack(parcel, Profile.BINARY, REFUSED), (), "courier")


def test_what_is_refused_is_encoded_as_the_next_profile_and_sent(clinic: Clinic) -> None:
    parcel = refused(clinic)
    assert next_profile(clinic.database, parcel, BOTH) is Profile.BINARY
    assert back(clinic, parcel)
    (ended,) = clinic.parcels.all()
    assert (ended.state, ended.error and ended.error["reason"]) == ("cancelled", "other-profile")
    assert ended.error is not None
    assert ended.error["message"].endswith("no such SOP class; its results go there as binary instead")
    assert encode_all(clinic) == ["done"]
    assert clinic.standings() == ["reissued", "current"], "nobody has the first one"
    assert clinic.states() == [("pacs", "cancelled"), ("pacs", "due")]
    assert [made.kind for made in clinic.ledger.artifacts(1)] == ["seg", "sr"]
    assert next_profile(clinic.database, clinic.parcels.all()[1], BOTH) is None, "each is tried once"
    assert "profile refused" in clinic.events()


def test_another_destination_keeps_what_it_takes(clinic: Clinic) -> None:
    taken = clinic.arrive(images())
    clinic.commit(clinic.plan(model_digest=DIGEST), taken, profile=Profile.LABELMAP)
    parcel = next(each for each in clinic.parcels.all() if each.destination == "pacs")
    assert back(clinic, parcel)
    assert encode_all(clinic) == ["done"]
    assert clinic.standings() == ["current", "current"]
    assert clinic.states() == [("pacs", "cancelled"), ("reading", "due"), ("pacs", "due")]


def test_one_may_refuse_what_another_one_falls_back_to(clinic: Clinic) -> None:
    """PACS takes BINARY alone, reading label maps alone; each was sent the other one first."""
    taken = clinic.arrive(images())
    profiles = {"pacs": "labelmap", "reading": "binary"}
    clinic.commit(clinic.plan(model_digest=DIGEST), taken, profile=Profile.LABELMAP, profiles=profiles)
    pacs = next(each for each in clinic.parcels.all() if each.destination == "pacs")
    assert back(clinic, pacs)
    assert encode_all(clinic) == ["done"]
    assert clinic.standings() == ["reissued", "current"]
    reading = next(each for each in clinic.parcels.all() if each.destination == "reading")
    wanted = FallBack(reading, Profile.LABELMAP, REFUSED)
    assert fall_back(clinic.database, Desk(clinic.desk.store, "NODE"), wanted, (), "courier")
    assert clinic.standings() == ["current", "current"], "what nobody had is sent to one that takes it"
    sent = {(each.destination, each.profile) for each in clinic.parcels.all() if each.state == "due"}
    assert sent == {("pacs", "binary"), ("reading", "labelmap")}


@pytest.mark.parametrize("taken", [(), (Profile.LABELMAP,)])
def test_a_destination_that_lists_no_other_profile_gets_none(clinic: Clinic, taken: tuple[Profile, ...]) -> None:
    parcel = refused(clinic)
    parcel = parcel if taken else replace(parcel, profile="binary")
    assert next_profile(clinic.database, parcel, taken) is None


def test_reports_that_were_taken_nevertheless_are_taken_back(clinic: Clinic) -> None:
    parcel = refused(clinic)
    clinic.parcels.took(parcel.id, [parcel.artifacts[1].sop_uid])
    assert back(clinic, clinic.parcels.all()[0])
    texts = [item.get("TextValue", "") for item in clinic.sent("withdrawal")["pacs"].ContentSequence]
    assert "Reason: the same result is there in another encoding" in texts


def test_a_parcel_that_is_not_due_any_more_stays_as_it_is(clinic: Clinic) -> None:
    parcel = refused(clinic)
    clinic.parcels.hold(parcel.id, "admin")
    assert not back(clinic, parcel)
    withdraw(clinic.database, Desk(clinic.desk.store, "NODE"), Withdrawal(1, "wrong"), (), "admin")
    assert not back(clinic, parcel)
    assert clinic.ledger.counts() == {"done": 1}
