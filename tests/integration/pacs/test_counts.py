"""How many images a real PACS says it has, which a series waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from peers import Orthanc
from result_cases import series
from studies_of_results import Clinic

from dicom_node.archive import census
from dicom_node.archive.census import OF_STUDY
from dicom_node.archive.database import Database
from dicom_node.archive.documents import part_10
from dicom_node.completion.counts import Counter
from dicom_node.dimse.find import images_reported
from dicom_node.settings import NodeSettings, PeerSettings, Settings

pytestmark = pytest.mark.peer


def test_orthanc_has_an_image_more_than_came(database: Database, tmp_path: Path, orthanc: Orthanc) -> None:
    images, clinic = series(), Clinic(database, tmp_path)
    clinic.arrive(images[:-1])
    for image in images:
        orthanc.request("POST", "/instances", part_10(image, ["ISO_IR 192"], "PACS"))
    peer = PeerSettings(name="pacs", ae_title=orthanc.aet, host="127.0.0.1", port=orthanc.dicom_port, count="study")
    settings = Settings(node=NodeSettings(data_dir=tmp_path), peers=(peer,))
    since = datetime(2026, 3, 1, tzinfo=UTC)
    uids = (OF_STUDY, str(images[0].SeriesInstanceUID))
    for uid in uids:
        census.want(database, 1, uid, "pacs", since)
    counter = Counter(database, settings, images_reported)
    assert counter.tick() == 1
    assert [census.want(database, 1, uid, "pacs", since).images for uid in uids] == [len(images)] * 2
    assert counter.tick() == 0, "it is asked again after a pause"
