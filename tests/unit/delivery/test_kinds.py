"""There is a destination of each kind that the settings name; what speaks HTTP is loaded only where it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.delivery.kinds import kinds_of_destinations
from dicom_node.settings import NodeSettings, PeerSettings, Settings

DICOM = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
WEB = {"name": "cloud", "kind": "dicomweb", "url": "http://127.0.0.1/dicom-web"}


def settings(tmp_path: Path, *entries: dict[str, object]) -> Settings:
    peers = tuple(PeerSettings.model_validate(entry) for entry in entries)
    return Settings(node=NodeSettings(data_dir=tmp_path), peers=peers)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [((), {"dicom", "folder"}), ((DICOM,), {"dicom", "folder"}), ((DICOM, WEB), {"dicom", "folder", "dicomweb"})],
)
def test_each_kind_that_is_named_is_there(
    tmp_path: Path, entries: tuple[dict[str, object], ...], expected: set[str]
) -> None:
    kinds = kinds_of_destinations(settings(tmp_path, *entries))
    assert set(kinds) == expected
    assert {kind: each.looks_by for kind, each in kinds.items() if kind != "folder"} == {
        kind: {"dicom": "C-FIND", "dicomweb": "QIDO-RS"}[kind] for kind in expected - {"folder"}
    }
    for each in kinds.values():
        each.close()


def test_no_http_library_is_loaded_for_dicom_peers() -> None:
    code = (
        "import sys\n"
        "from dicom_node.delivery.kinds import kinds_of_destinations\n"
        "from dicom_node.settings import Settings\n"
        "kinds_of_destinations(Settings())\n"
        "sys.exit('httpx' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
