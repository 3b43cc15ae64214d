from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dicom_node.dimse.admission import Rejection
from dicom_node.dimse.occupancy import Occupancy, Places
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


def test_places_are_shared_by_processes_and_free_when_one_dies(tmp_path: Path) -> None:
    file = tmp_path / "places"
    take = (
        "import pathlib, sys, time; from dicom_node.dimse.occupancy import Places\n"
        "places = Places(3, pathlib.Path(sys.argv[1])); print(places.take(), places.take(), flush=True); time.sleep(60)"
    )
    ours = Places(3, file)
    assert ours.take() == 0
    other = subprocess.Popen([sys.executable, "-c", take, str(file)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline().split() == ["1", "2"]
    assert ours.take() is None
    ours.give(0)
    assert ours.take() == 0
    other.kill()
    other.wait()
    assert [ours.take(), ours.take(), ours.take()] == [1, 2, None]


def test_two_acceptors_count_together(tmp_path: Path) -> None:
    settings = Settings(node=NodeSettings(maximum_associations=3), peers=(CT, MR))
    first = Occupancy(settings, tmp_path / "occupancy")
    assert first.enter("1", CT) is None
    assert (tmp_path / "occupancy" / f"peer-{b'ct'.hex()}").exists()
    assert code(first.enter("2", CT)) == (2, 3, 2)
    first.leave("1")
    assert first.enter("2", CT) is None
