"""What goes into one STOW-RS request, and how its answer becomes one for each object; servers: integration/delivery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dicom_node.delivery import dicomweb
from dicom_node.delivery.dicomweb import WebDestination
from dicom_node.domain.sending import OutgoingObject, SendOutcome
from dicom_node.errors import PeerError
from dicom_node.exchange.stow import Part
from dicom_node.settings import NodeSettings, PeerSettings, Settings

EXPLICIT = "1.2.840.10008.1.2.1"
PEER = PeerSettings(name="cloud", kind="dicomweb", url="http://127.0.0.1:1/dicom-web")


class Server:
    """Stands for ``stow.store``: notes each request, and refuses those that hold a bad object as a whole."""

    def __init__(self, bad: Sequence[str] = (), statuses: dict[str, int] | None = None) -> None:
        self.bad, self.statuses = set(bad), statuses or {}
        self.requests: list[list[str]] = []

    def __call__(self, client: object, peer: PeerSettings, parts: Sequence[Part], paid: object) -> dict[str, int]:
        uids = [part.sop_instance_uid for part in parts]
        self.requests.append(uids)
        if self.bad.intersection(uids):
            raise PeerError("400 Bad Request", reason="object-refused")
        return {uid: self.statuses.get(uid, 0) for uid in uids}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(dicomweb.stow, "store", lambda *given: made(*given))
    return made


@pytest.fixture
def objects(tmp_path: Path, archive_factory: type) -> list[OutgoingObject]:
    made = []
    for number in range(1, 6):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(archive_factory.part10(archive_factory.image(number), EXPLICIT))  # type: ignore[attr-defined]
        made.append(OutgoingObject(path, "1.2.840.10008.5.1.4.1.1.2", f"uid{number}", EXPLICIT))
    return made


def sent(tmp_path: Path, objects: Sequence[OutgoingObject]) -> list[SendOutcome]:
    destination = WebDestination(Settings(node=NodeSettings(data_dir=tmp_path), peers=(PEER,)))
    try:
        return list(destination.send(PEER, objects, lambda size: None))
    finally:
        destination.close()


def test_objects_go_together_up_to_a_number_and_a_size(
    tmp_path: Path, server: Server, objects: list[OutgoingObject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb, "MOST_OBJECTS", 2)
    assert all(outcome.ok for outcome in sent(tmp_path, objects))
    assert [len(request) for request in server.requests] == [2, 2, 1]
    server.requests.clear()
    monkeypatch.setattr(dicomweb, "MOST_OBJECTS", 50)
    monkeypatch.setattr(dicomweb, "MOST_BYTES", objects[0].path.stat().st_size + 10)
    sent(tmp_path, objects)
    assert [len(request) for request in server.requests] == [1] * 5


def test_a_request_that_is_refused_as_a_whole_is_halved_until_the_bad_one_is_found(
    tmp_path: Path, server: Server, objects: list[OutgoingObject]
) -> None:
    server.bad = {"uid4"}
    outcomes = {each.sop_instance_uid: each for each in sent(tmp_path, objects)}
    assert list(outcomes) == [each.sop_instance_uid for each in objects]
    assert [uid for uid, each in outcomes.items() if not each.ok] == ["uid4"]
    assert outcomes["uid4"].reason == "object-refused"


def test_a_file_that_is_gone_keeps_no_other_back(tmp_path: Path, server: Server, objects: list[OutgoingObject]) -> None:
    objects[1].path.unlink()
    outcomes = {each.sop_instance_uid: each for each in sent(tmp_path, objects)}
    assert {uid: each.reason for uid, each in outcomes.items() if not each.ok} == {"uid2": "unreadable-file"}
    assert server.requests == [["uid1", "uid3", "uid4", "uid5"]]


def test_each_status_is_told_of_its_object(tmp_path: Path, server: Server, objects: list[OutgoingObject]) -> None:
    server.statuses = {"uid1": 0xA700, "uid2": 0xB000, "uid3": 0x0122}
    outcomes = {each.sop_instance_uid: each for each in sent(tmp_path, objects)}
    assert [outcomes[f"uid{n}"].reason for n in range(1, 6)] == ["out-of-resources", "", "object-refused", "", ""]
    assert outcomes["uid2"].ok  # a warning


def test_other_trouble_is_of_the_peer(
    tmp_path: Path, objects: list[OutgoingObject], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> dict[str, int]:
        raise PeerError("connection refused", reason="refused")

    monkeypatch.setattr(dicomweb.stow, "store", away)
    with pytest.raises(PeerError, match="connection refused"):
        sent(tmp_path, objects)
