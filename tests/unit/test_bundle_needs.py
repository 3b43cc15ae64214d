from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dicom_node.bundle_needs import needs, weights_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    return tmp_path


def told(folder: Path, **metadata: Any) -> list[tuple[str, str, bool]]:
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return [(need.what, need.message, need.prevents) for need in needs(folder) if need.what != "contract"]


def test_packages_that_are_missing_or_older_are_told_one_by_one(folder: Path) -> None:
    found = told(
        folder,
        numpy_version="1.0",
        required_packages_version={"nopackage": "1.2", "pydicom": "1.0"},
        optional_packages_version={"pydantic": "99.0"},
    )

    assert found[0] == ("package", "nopackage 1.2 is not installed", True)
    assert found[1][1].endswith("the bundle was made with 99.0")
    assert [prevents for _, _, prevents in found] == [True, False]


def test_weights_that_are_missing_wrong_or_unproven_are_told_one_by_one(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "wrong.pt").write_bytes(b"x")
    (folder / "models" / "bare.pt").write_bytes(b"y")
    entries = [
        {"path": "models/model.pt", "url": "https://example.org/a"},
        {"path": "models/model.ts", "url": "https://example.org/b"},
        {"path": "models/wrong.pt", "url": "https://example.org/c", "hash_type": "md5", "hash_val": "0" * 32},
        {"path": "models/bare.pt", "url": "https://example.org/d"},
    ]
    (folder / "large_files.yml").write_text(json.dumps({"large_files": entries}))

    found = told(folder)

    assert found[0] == ("weights", "models/model.pt is missing", True)
    assert found[1] == ("weights", "models/model.ts is missing", False)
    assert found[2][0] == "hash"
    assert "its md5 is" in found[2][1]
    assert found[3] == ("hash", "models/bare.pt comes without a hash", False)
    assert [path for path, _, _ in weights_of(folder)] == ["models/bare.pt", "models/wrong.pt"]
    assert weights_of(folder)[0][2] == "https://example.org/d"


def test_a_contract_that_is_not_there_is_told(folder: Path) -> None:
    (folder / "configs" / "metadata.json").write_text("no json")

    assert [need.what for need in needs(folder)] == ["metadata", "contract"]
