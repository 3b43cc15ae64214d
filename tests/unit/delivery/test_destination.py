"""Objects as they are sent: what the entry of the peer asks for holds for results and for images."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from deliveries import Bench
from pydicom import dcmread
from sqlalchemy import update

from dicom_node.archive.coercion import coerced
from dicom_node.archive.schema import parcel
from dicom_node.delivery.destination import outgoing
from dicom_node.domain.changes import Coercion
from dicom_node.domain.parcel import ParcelState
from dicom_node.settings import PeerSettings, RuleSettings

CHANGE = {"prefix": {"PatientID": "MC-"}, "set": {"IssuerOfPatientID": "MC"}}


def changing(bench: Bench, change: dict[str, object], **rule: object) -> PeerSettings:
    """Have the settings of the bench change what ``pacs`` gets; a rule sends images on to it."""
    before, *others = bench.settings.peers
    peer = PeerSettings.model_validate({**before.model_dump(), "change": change})
    rules = (RuleSettings.model_validate({"name": "on", "send_to": ["pacs"], **rule}),)
    bench.settings = bench.settings.model_copy(update={"peers": (peer, *others), "rules": rules})
    return peer


def test_results_are_changed_as_images_are_and_alike_each_time(bench: Bench) -> None:
    made = bench.parcel(bench.add(objects=1))
    plain = outgoing(made, made.artifacts[0], bench.settings.node, bench.settings.peers[0])
    assert plain.coercion is None
    peer = changing(bench, CHANGE)
    each = outgoing(made, made.artifacts[0], bench.settings.node, peer)
    assert each.coercion == Coercion(peer.changes, "DICOMNODE", made.created_at)  # type: ignore[arg-type]
    with coerced(each.path, each.coercion) as file:
        sent = dcmread(file)
    assert (sent.PatientID, sent.IssuerOfPatientID, sent.SOPInstanceUID) == ("MC-P1", "MC", each.sop_instance_uid)


def test_a_lane_hands_the_changes_on(bench: Bench) -> None:
    changing(bench, CHANGE)
    number = bench.add()
    seen = []
    bench.peer.answer = lambda each: seen.append(each.coercion) or ""  # type: ignore[func-returns-value]
    bench.run(1)
    assert bench.parcel(number).state == ParcelState.PRESENT
    assert [one.changes.prefix for one in seen] == [{"PatientID": "MC-"}] * 2


@pytest.mark.parametrize(("hours", "state"), [("00:00-24:00", ParcelState.PRESENT), ("closed", ParcelState.DUE)])
def test_a_rule_lets_go_at_its_hours_alone(bench: Bench, hours: str, state: ParcelState) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    span = hours if hours != "closed" else f"{later:%H:00}-{later + timedelta(hours=1):%H:00}"
    changing(bench, {}, send_hours=[span])
    bench.settings = bench.settings.model_copy(
        update={"node": bench.settings.node.model_copy(update={"time_zone": "UTC"})}
    )
    number = bench.add()
    with bench.database.write() as connection:
        connection.execute(update(parcel).values(rule="on"))
    bench.run(1)
    assert bench.parcel(number).state == state
    if state == ParcelState.DUE:
        assert bench.parcel(number).next_try > datetime.now(UTC)
