"""``peers probe`` asks real peers what they accept: Orthanc, over DIMSE and DICOMweb, and DCMTK's receiver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from listening import StoreSCP, association_profile
from peers import Orthanc, end, free_port

from dicom_node.delivery.probe import KINDS, Kind, Probe, probe
from dicom_node.domain.profile import PRESETS
from dicom_node.errors import PeerError
from dicom_node.settings import PeerSettings, Settings

pytestmark = pytest.mark.peer

BINARY, LABELMAP, SR, _, _, STATE, CAPTURE, _, CT, _ = KINDS


def asked(peer: PeerSettings) -> Probe:
    return probe(Settings(peers=(peer,)), peer, 10)


def dicom(port: int, **entry: Any) -> PeerSettings:
    return PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, **entry)


def advice(found: Probe) -> dict[str, Any]:
    return {each.key: each.value for each in found.advice}


def test_orthanc_as_nobody_has_configured_it(orthanc: Orthanc) -> None:
    orthanc.stop()
    orthanc.options["UnknownSopClassAccepted"] = False
    orthanc.start()
    found = asked(dicom(orthanc.dicom_port))
    objects = {each.what: each for each in found.objects}
    assert {name for name, each in objects.items() if not each.accepted} == {"SEG, label map"}
    assert objects["SEG, label map"].how == "SOP class not supported"
    assert "Explicit VR Little Endian" in objects["SEG, binary or fractional"].how
    services = {each.what: each.accepted for each in found.services}
    assert services["C-FIND (Study Root)"]
    assert services["C-MOVE (Study Root)"]
    assert services["Storage Commitment"]
    assert advice(found) == {"results": "images-only", "verify": "commitment"}
    assert found.takes_results
    assert not orthanc.instances(), "nothing is written"


def test_orthanc_over_dicomweb(orthanc: Orthanc) -> None:
    orthanc.stop()
    url = orthanc.serve_dicomweb()
    orthanc.start()
    found = asked(PeerSettings(name="pacs", kind="dicomweb", url=url))
    assert {each.what: each.accepted for each in found.services} == {
        "QIDO-RS studies": True,
        "QIDO-RS instances": True,
        "STOW-RS": True,
    }
    assert {each.accepted for each in found.objects} == {None}
    assert advice(found) == {"verify": "find"}
    assert not orthanc.instances()


@pytest.mark.parametrize(
    ("takes", "results"),
    [
        ((BINARY, SR), ["binary"]),
        ((LABELMAP, SR, CAPTURE), ["labelmap", "summary"]),
        ((BINARY, CAPTURE, STATE), ["binary", "summary", "presentation"]),
        ((CT,), None),
    ],
    ids=["no companions", "label maps alone", "no reports", "no results"],
)
def test_a_receiver_that_takes_what_it_lists(
    tmp_path: Path, takes: tuple[Kind, ...], results: list[str] | None
) -> None:
    listed = {kind.sop_class: [kind.syntaxes[0]] for kind in takes}
    profile = tmp_path / "storescp.cfg"
    profile.write_text(association_profile(listed))
    server = StoreSCP(tmp_path / "received", options=("-xf", str(profile), "Results"))
    server.start()
    try:
        found = asked(dicom(server.port))
    finally:
        if server.process is not None:
            end(server.process)
    assert advice(found).get("results") == results
    assert advice(found) | {"verify": "none", "check": False} == advice(found)
    assert found.takes_results == (results is not None)
    assert not server.files()


def test_every_preset_that_is_advised_can_be_written_into_an_entry() -> None:
    for name, members in PRESETS.items():
        assert dicom(104, results=name).results == members


def test_a_peer_that_is_not_there_is_said_to_be() -> None:
    with pytest.raises(PeerError, match="connection refused"):
        asked(dicom(free_port()))
