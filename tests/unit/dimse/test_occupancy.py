from __future__ import annotations

from dicom_node.dimse.admission import Rejection
from dicom_node.dimse.occupancy import Occupancy
from dicom_node.settings import NodeSettings, PeerSettings, Settings

CT = PeerSettings(name="ct", ae_title="CT", host="ct", port=104, maximum_associations=1, bytes_per_second=1000)
MR = PeerSettings(name="mr", ae_title="MR", host="mr", port=104)


def occupancy() -> Occupancy:
    return Occupancy(Settings(node=NodeSettings(maximum_associations=3), peers=(CT, MR)))


def code(rejection: Rejection | None) -> tuple[int, int, int]:
    assert rejection is not None
    return rejection.result, rejection.source, rejection.diagnostic


def test_a_peer_has_its_own_maximum() -> None:
    places = occupancy()
    assert places.enter("1", CT) is None
    assert code(places.enter("2", CT)) == (2, 3, 2)
    assert places.enter("2", MR) is None
    assert places.enter("3", None) is None


def test_the_node_has_a_maximum_over_all() -> None:
    places = occupancy()
    assert [places.enter(str(number), MR) for number in range(3)] == [None] * 3
    assert code(places.enter("3", CT)) == (2, 3, 2)
    places.leave("1")
    assert places.enter("3", CT) is None


def test_one_that_was_rejected_takes_no_place_and_leaves_none() -> None:
    places = occupancy()
    places.enter("1", CT)
    places.enter("2", CT)
    places.leave("2")
    assert code(places.enter("3", CT)) == (2, 3, 2)
    places.leave("1")
    assert places.enter("3", CT) is None


def test_associations_of_a_peer_share_their_throttle() -> None:
    places = occupancy()
    assert places.throttle(CT) is places.throttle(CT) is not None
    assert places.throttle(MR) is None
    assert places.throttle(None) is None
