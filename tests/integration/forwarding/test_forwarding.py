"""What arrives is sent on: to DCMTK, to Orthanc, and round in circles between nodes of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from listening import StoreSCP
from peers import Orthanc, end, free_port, storescu, wait_until
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from small_series import small_series, write
from sqlalchemy import select

from dicom_node.archive.overview import counters
from dicom_node.archive.schema import event, instance, parcel
from dicom_node.archive.soundness import data_set_digest
from dicom_node.dimse.associate import echo
from dicom_node.domain.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from dicom_node.errors import PeerError
from dicom_node.node import Node
from dicom_node.reception.acceptor import run_acceptor
from dicom_node.settings import Configuration, PeerSettings, load

pytestmark = pytest.mark.peer

CONFIGURATION = """
[node]
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}
data_dir = "data"
time_zone = "UTC"
[web]
port = {web_port}
[completion]
quiet_seconds = 1
study_quiet_seconds = 1
[delivery]
first_pause_seconds = 0.2
longest_pause_seconds = 0.5
verify_after_seconds = 0
[[peers]]
name = "scanner"
ae_title = "STORESCU"
host = "127.0.0.1"
port = 104
{more}
"""


@dataclass
class RoutingNode:
    """A whole node in threads: its acceptor and all its stages."""

    folder: Path
    ae_title: str = "DICOMNODE"
    port: int = field(default_factory=free_port)
    node: Node | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, more: str) -> None:
        """With peers and rules, as TOML."""
        self.folder.mkdir()
        file = self.folder / "dicom-node.toml"
        text = CONFIGURATION.format(ae_title=self.ae_title, port=self.port, web_port=free_port(), more=more)
        file.write_text(text)
        configuration: Configuration = load(file, {})
        self.node = Node(configuration)
        for work in (self.node.run, lambda stop: run_acceptor(configuration.settings, "a0", stop)):
            thread = threading.Thread(target=work, args=(self._stop,))
            thread.start()
            self._threads.append(thread)
        wait_until(self._answers, "the acceptor to answer")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def send(self, *sources: Path) -> None:
        sent = storescu(self.port, *sources, called=self.ae_title, options=("--required", "--propose-lossless"))
        assert sent.returncode == 0, sent.stdout + sent.stderr

    def rows(self, table: Any) -> list[Any]:
        assert self.node is not None
        with self.node.database.read() as connection:
            return list(connection.execute(select(table).order_by(table.c.id)).all())

    def events(self, kind: str) -> list[Any]:
        return [row for row in self.rows(event) if row.kind == kind]

    def parcels(self, destination: str) -> list[str]:
        """States of the parcels to a destination."""
        return [row.state for row in self.rows(parcel) if row.destination == destination]

    def _answers(self) -> bool:
        us = PeerSettings(name="us", ae_title=self.ae_title, host="127.0.0.1", port=self.port)
        try:
            return echo(us, "STORESCU") > 0
        except PeerError:
            return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RoutingNode]]:
    nodes: list[RoutingNode] = []

    def make(more: str, **how: Any) -> RoutingNode:
        node = RoutingNode(tmp_path / f"node{len(nodes)}", **how)
        nodes.append(node)
        node.start(more)
        return node

    yield make
    for node in nodes:
        node.stop()


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[StoreSCP]:
    server = StoreSCP(tmp_path / "storescp")
    server.start()
    yield server
    if server.process is not None:
        end(server.process)


def peer(name: str, ae_title: str, port: int, more: str = "") -> str:
    return f'[[peers]]\nname = "{name}"\nae_title = "{ae_title}"\nhost = "127.0.0.1"\nport = {port}\n{more}\n'


def rule(name: str, *send_to: str, more: str = 'trigger = "arrival"') -> str:
    return f'[[rules]]\nname = "{name}"\nsend_to = {json.dumps(send_to)}\n{more}\n'


def digests(files: list[Path]) -> list[str]:
    return sorted(data_set_digest(file) for file in files)


def test_what_comes_in_goes_out_bit_for_bit_once(start: Any, storescp: StoreSCP, tmp_path: Path) -> None:
    node = start(peer("dcmtk", "ANY-SCP", storescp.port, 'verify = "none"') + rule("all", "dcmtk"))
    images = small_series(5)
    folder = write(images[:3], tmp_path / "first")
    node.send(folder)
    wait_until(lambda: len(storescp.files()) == 3, "three images to be sent on")
    late = write(images[3:], tmp_path / "late")
    node.send(late)
    node.send(folder)  # again
    wait_until(lambda: len(storescp.files()) == 5, "the late images to follow")
    wait_until(lambda: set(node.parcels("dcmtk")) == {"sent"}, "the parcels to be settled")
    assert digests(storescp.files()) == digests([*folder.iterdir(), *late.iterdir()])
    sent = [number for row in node.rows(parcel) for number in row.instances]
    assert len(sent) == len(set(sent)) == 5
    assert counters(node.node.database)["unaccounted"] == 0


def test_orthanc_gets_it_changed_and_found_and_we_keep_it_as_it_was(
    start: Any, orthanc: Orthanc, tmp_path: Path
) -> None:
    change = (
        'change = { prefix = { PatientID = "MC-", AccessionNumber = "MC" }, set = { IssuerOfPatientID = "MC" }, '
        'remove = ["StationName"] }'
    )
    more = peer("pacs", "ORTHANC", orthanc.dicom_port, change)
    node = start(more + rule("all", "pacs", more='trigger = "study"\nforward = "study"'))
    images = small_series(3, AccessionNumber="A1")
    folder = write(images, tmp_path / "images")
    node.send(folder)
    wait_until(lambda: node.parcels("pacs") == ["present"], "the study to be found in Orthanc", seconds=60)
    for held in orthanc.instances():
        tags = orthanc.get(f"/instances/{held.id}/simplified-tags")
        assert (tags["PatientID"], tags["AccessionNumber"], tags["IssuerOfPatientID"]) == ("MC-SMALL-1", "MCA1", "MC")
        (item,) = tags["OriginalAttributesSequence"]
        assert (item["ModifyingSystem"], item["SourceOfPreviousValues"]) == ("DICOMNODE", "STORESCU")
        assert item["ModifiedAttributesSequence"][0]["PatientID"] == "SMALL-1"
    ours = [node.folder / "data" / row.path for row in node.rows(instance)]
    assert digests(ours) == digests(list(folder.iterdir()))


def test_an_overflow_is_refused_by_name(start: Any, orthanc: Orthanc, tmp_path: Path) -> None:
    change = 'change = { prefix = { AccessionNumber = "TOO-LONG" } }'
    node = start(peer("pacs", "ORTHANC", orthanc.dicom_port, change) + rule("all", "pacs"))
    node.send(write(small_series(1, AccessionNumber="123456789"), tmp_path / "images"))
    wait_until(lambda: node.parcels("pacs") == ["refused"], "the refusal", seconds=60)
    (row,) = node.rows(parcel)
    assert row.error["reason"] == "unchangeable"
    assert "AccessionNumber would be" in row.error["message"]
    assert orthanc.instances() == []


CIRCLE = 'change = {{ prefix = {{ PatientID = "{0}-" }}, set = {{ IssuerOfPatientID = "{0}" }} }}\nverify = "none"'


@pytest.mark.parametrize("count", [2, 3])
def test_nodes_that_send_on_to_each_other_come_to_rest(start: Any, tmp_path: Path, count: int) -> None:
    names = [f"NODE{number}" for number in range(count)]
    ports = [free_port() for _ in names]
    nodes = []
    for number, name in enumerate(names):
        after = (number + 1) % count
        more = "".join(
            peer(other, other, port, CIRCLE.format(name) if other == names[after] else "")
            for other, port in zip(names, ports, strict=True)
            if other != name
        )
        nodes.append(start(more + rule("on", names[after]), ae_title=name, port=ports[number]))
    nodes[0].send(write(small_series(2), tmp_path / "images"))
    wait_until(lambda: len(nodes[-1].rows(instance)) == 2, "the images to come to the last node", seconds=60)
    if count == 2:
        wait_until(lambda: nodes[1].events("loop cut"), "the loop to be cut")
        assert nodes[1].parcels("NODE0") == []
    else:
        wait_until(lambda: nodes[0].events("sent on objects came back"), "it to come round", seconds=60)
        wait_until(lambda: len(nodes[0].rows(instance)) == 4, "all of it to come round")
    wait_until(
        lambda: all(state == "sent" for node in nodes for state in [row.state for row in node.rows(parcel)]), "rest"
    )
    for node in nodes:
        sent = [row.instances for row in node.rows(parcel)]
        assert sum(map(len, sent)) == (0 if count == 2 and node is nodes[1] else 2)
    current = [row for row in nodes[0].rows(instance) if row.state == "current"]
    assert [dcmread(nodes[0].folder / "data" / row.path).PatientID for row in current] == ["SMALL-1"] * 2


@pytest.mark.parametrize("open_", [True, False])
def test_hours_of_a_rule(start: Any, storescp: StoreSCP, tmp_path: Path, open_: bool) -> None:
    begins = datetime.now(UTC) + timedelta(hours=-2 if open_ else 2)
    hours = f"{begins:%H:00}-{begins + timedelta(hours=5 if open_ else 1):%H:00}"
    more = f'trigger = "arrival"\nsend_hours = ["{hours}"]'
    node = start(peer("dcmtk", "ANY-SCP", storescp.port, 'verify = "none"') + rule("all", "dcmtk", more=more))
    node.send(write(small_series(1), tmp_path / "images"))
    if open_:
        wait_until(lambda: node.parcels("dcmtk") == ["sent"], "it to be sent")
        return
    row = wait_until(
        lambda: [row for row in node.rows(parcel) if row.next_try > datetime.now(UTC)], "it to be put off"
    )[0]
    assert f"{row.next_try:%H:%M}" == hours[:5]
    assert (row.state, storescp.files()) == ("due", [])


@dataclass
class Modality:
    """Stores, asks for commitment, and takes the report over an association of its own."""

    port: int = field(default_factory=free_port)
    reports: list[tuple[int, Dataset]] = field(default_factory=list)

    def listen(self) -> Any:
        ae = AE("MODALITY")
        ae.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        return ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def ask(self, node: RoutingNode, images: list[Dataset]) -> None:
        asked = Dataset()
        asked.TransactionUID = "2.25.4711"
        asked.ReferencedSOPSequence = []
        for image in images:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
            asked.ReferencedSOPSequence.append(item)
        ae = AE("MODALITY")
        association = ae.associate("127.0.0.1", node.port, [build_context(PUSH_MODEL)], ae_title=node.ae_title)
        assert association.is_established
        status, _ = association.send_n_action(asked, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        association.release()
        assert status.Status == 0

    def _take(self, asked: Any) -> tuple[int, None]:
        self.reports.append((asked.event_type, asked.event_information))
        return 0, None


def relaying(modality: Modality, archive: str, hours: float = 24.0) -> str:
    relay = f'commitment = "relay"\nrelay_to = "pacs"\nrelay_hours = {hours}'
    return peer("ct", "MODALITY", modality.port, relay) + archive + rule("on", "pacs")


def test_commitment_is_passed_on_once_the_archive_has_committed(start: Any, orthanc: Orthanc, tmp_path: Path) -> None:
    modality, port = Modality(), free_port()
    orthanc.know("node", "DICOMNODE", port)
    orthanc.stop()
    more = relaying(modality, peer("pacs", "ORTHANC", orthanc.dicom_port, 'verify = "commitment"'))
    node = start(more, port=port)
    images = small_series(2)
    server = modality.listen()
    try:
        storescu(port, write(images, tmp_path / "images"), called="DICOMNODE", calling="MODALITY")
        modality.ask(node, images)
        wait_until(lambda: node.rows(parcel) and node.rows(parcel)[0].tries > 1, "the archive to be missed")
        assert modality.reports == []  # as long as the archive has not answered
        orthanc.start()
        wait_until(lambda: modality.reports, "the report", seconds=120)
    finally:
        server.shutdown()
    assert node.parcels("pacs") == ["committed"]
    ((kind, told),) = modality.reports
    assert (kind, told.TransactionUID, len(told.ReferencedSOPSequence)) == (1, "2.25.4711", 2)


def test_an_archive_that_does_not_commit_is_not_answered_for(start: Any, orthanc: Orthanc, tmp_path: Path) -> None:
    modality = Modality()  # Orthanc does not know us, and so reports to nobody
    more = relaying(modality, peer("pacs", "ORTHANC", orthanc.dicom_port, 'verify = "commitment"'), 0.003)
    node = start(more)
    images = small_series(2)
    server = modality.listen()
    try:
        storescu(node.port, write(images, tmp_path / "images"), called="DICOMNODE", calling="MODALITY")
        modality.ask(node, images)
        wait_until(lambda: modality.reports, "the report", seconds=120)
    finally:
        server.shutdown()
    assert len(orthanc.instances()) == 2  # present is not committed
    ((kind, told),) = modality.reports
    assert (kind, [item.FailureReason for item in told.FailedSOPSequence]) == (2, [0x0110, 0x0110])
