"""Settings of the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.settings import load

TWICE = """
[[ehr.identifiers]]
system = "urn:oid:1"
issuer = "A"
[[ehr.identifiers]]
system = "urn:oid:1"
issuer = "B"
"""


def test_a_system_has_one_issuer(tmp_path: Path) -> None:
    file = tmp_path / "dicom-node.toml"
    file.write_text(TWICE)
    with pytest.raises(ConfigurationError, match="stands twice") as caught:
        load(file, {})
    assert caught.value.key is not None and caught.value.key.startswith("ehr.identifiers")


def test_a_mapping_counts_from_the_folder_of_its_settings(tmp_path: Path) -> None:
    file = tmp_path / "dicom-node.toml"
    file.write_text('[ehr]\nmapping = "own.toml"\n[[ehr.identifiers]]\nsystem = "s"\nissuer = "A"\n')
    settings = load(file, {}).settings.ehr
    assert settings.mapping == tmp_path / "own.toml"
    assert (settings.issuer_of("s"), settings.issuer_of("t")) == ("A", "")
