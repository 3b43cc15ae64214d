"""A whole node: what arrives is sent on to destinations of every kind, and each says what it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deliveries import write_image
from peers import Orthanc, end, free_port, storescu, wait_until
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

CONFIGURATION = """
[node]
host = "127.0.0.1"
port = {port}
[web]
port = {web}
[broker]
url = "embedded"
[completion]
quiet_seconds = 1
[delivery]
verify_after_seconds = 0
[[peers]]
name = "modality"
ae_title = "STORESCU"
host = "127.0.0.1"
port = 104
[[peers]]
name = "pacs"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {dicom}
verify = "commitment"
[[peers]]
name = "cloud"
kind = "dicomweb"
url = "{url}"
[[peers]]
name = "share"
kind = "folder"
folder = "share"
[[rules]]
name = "everything"
send_to = ["pacs", "cloud", "share"]
"""


@pytest.mark.peer
def test_what_arrives_is_committed_to_found_and_written(tmp_path: Path) -> None:
    port, web = free_port(), free_port()
    orthanc, cloud = Orthanc(tmp_path / "orthanc"), Orthanc(tmp_path / "cloud")
    url = cloud.serve_dicomweb()
    orthanc.know("node", "DICOMNODE", port)
    (tmp_path / "share").mkdir()
    text = CONFIGURATION.format(port=port, web=web, dicom=orthanc.dicom_port, url=url)
    (tmp_path / "dicom-node.toml").write_text(text)
    command = [sys.executable, "-m", "dicom_node.cli.main"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DICOM_NODE")}

    def parcels() -> list[dict[str, Any]]:
        ran = subprocess.run(
            [*command, "parcels", "list", "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return list(json.loads(ran.stdout)["parcels"]) if ran.returncode == 0 else []

    node = None
    try:
        orthanc.start()
        cloud.start()
        node = subprocess.Popen([*command, "serve"], cwd=tmp_path, env=environment)
        files = []
        for number in range(3):
            files.append(tmp_path / f"{number}.dcm")
            made = {"sop_uid": f"1.2.3.1.{number}", "sop_class": CTImageStorage, "series_uid": "1.2.3.1"}
            write_image(files[-1], made | {"transfer_syntax": ExplicitVRLittleEndian}, "1.2.3", 2048)
        wait_until(
            lambda: storescu(port, *files, called="DICOMNODE").returncode == 0, "the node to take it", seconds=120
        )
        arrived = {"pacs": "committed", "cloud": "present", "share": "present"}
        wait_until(
            lambda: (told := parcels()) and all(each["state"] == arrived[each["destination"]] for each in told),
            "every destination to say what it has",
            seconds=240,
        )
        told = parcels()
    finally:
        if node is not None:
            end(node, seconds=60)
        orthanc.stop()
        cloud.stop()
    assert {each["destination"]: each["verification"] for each in told} == {
        "pacs": "committed to by Storage Commitment",
        "cloud": "found by QIDO-RS",
        "share": "found by its SHA-256",
    }
    assert len(list((tmp_path / "share").rglob("*.dcm"))) == 3
