"""Imports go down, as the contracts in pyproject.toml say; and those contracts do catch what they are for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of both packages and their contracts, to be spoilt."""
    for package in ("dicom_node", "workers"):
        shutil.copytree(CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_go_down() -> None:
    linted = _lint(CHECKOUT)

    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        pytest.param("dicom_node/errors.py", "import dicom_node.settings", id="upwards"),
        pytest.param("dicom_node/jobs/planted.py", "import dicom_node.delivery", id="stage to stage"),
        pytest.param("dicom_node/planted.py", "", id="a module of no layer"),
        pytest.param("dicom_node/catalogue.py", "import torch", id="torch in the node"),
        pytest.param("dicom_node/delivery/planted.py", "import workers", id="workers in the node"),
        pytest.param("dicom_node/delivery/planted.py", "import pynetdicom", id="an association outside dimse"),
        pytest.param("dicom_node/delivery/planted.py", "import sqlalchemy", id="SQL outside the archive"),
        pytest.param("dicom_node/delivery/planted.py", "import celery", id="Celery outside jobs"),
        pytest.param("dicom_node/domain/planted.py", "import pydicom", id="the domain reads DICOM"),
        pytest.param("workers/results/planted.py", "import dicom_node.dimse", id="a worker on the network"),
        pytest.param("workers/results/planted.py", "import workers.inference", id="results know inference"),
    ],
)
def test_a_planted_violation_is_caught(copy: Path, module: str, line: str) -> None:
    file = copy / module
    file.write_text((file.read_text() if file.exists() else "") + f"\n{line}\n")

    linted = _lint(copy)

    assert linted.returncode == 1, linted.stdout + linted.stderr
    assert "BROKEN" in linted.stdout
