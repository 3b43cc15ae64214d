"""What is in the wheel, and that it runs away from the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance
CHECKOUT = Path(__file__).parents[2]


def _digests_of_folder(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def _digests_in_wheel(wheel: Path, prefix: str) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.removeprefix(prefix): hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if name.startswith(prefix)
        }


def _from_the_root(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(part) for part in command], cwd="/", env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"dicom_node", "workers"}
    packed = {
        name: digest for name, digest in _digests_in_wheel(wheel, "dicom_node/").items() if name[:8] != "_models/"
    }
    assert packed == _digests_of_folder(CHECKOUT / "dicom_node")
    assert _digests_in_wheel(wheel, "workers/") == _digests_of_folder(CHECKOUT / "workers")


def test_the_wheel_holds_the_models_unchanged(wheel: Path) -> None:
    models = _digests_of_folder(CHECKOUT / "models")

    assert any(name.endswith("model.toml") for name in models)
    assert _digests_in_wheel(wheel, "dicom_node/_models/") == models


def test_the_installed_copy_is_the_one_that_runs(installed: Path) -> None:
    ran = _from_the_root(installed / "python", "-c", "import dicom_node, workers; print(dicom_node.__file__)")

    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).is_relative_to(installed.parent)


def test_help_is_given_from_anywhere(installed: Path) -> None:
    ran = _from_the_root(installed / "dicom-node", "--help")

    assert ran.returncode == 0, ran.stderr
    assert "studies" in ran.stdout


def test_the_installed_node_finds_the_models_it_was_shipped_with(installed: Path) -> None:
    ran = _from_the_root(installed / "dicom-node", "models", "list", "--json")

    assert ran.returncode == 0, ran.stderr
    listed = json.loads(ran.stdout)
    assert "ct_lung_density" in json.dumps(listed)
