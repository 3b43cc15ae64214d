"""The wheel, built by way of the sdist, and an environment in which it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from explained_bundle import serve_explained
from installed_node import InstalledNode
from peers import Orthanc
from served_bundles import serve_bundle

CHECKOUT = Path(__file__).parents[2]

# The main rule, and one per small model, told apart by the description of the study.
RULES = """
[[rules]]
name = "chest CT: lungs"
model = "ct_lung_density"
all = ['Modality == "CT"', 'instances >= 20']
trigger = "series"
send_to = ["pacs"]
""" + "".join(
    f"""
[[rules]]
name = "{model}"
model = "{model}"
all = ['StudyDescription == "{model}"']
trigger = "series"
send_to = ["pacs"]
"""
    for model in ("quick", "raises", "hangs", "eats", "explains")
)
RULES += """
[[rules]]
name = "quick, once"
model = "quick"
all = ['StudyDescription == "quick once"']
send_to = ["pacs"]
late = "ignore"
"""


def _run(*command: str | Path, cwd: Path) -> None:
    ran = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as users get it: the sdist is built from the checkout, the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, CHECKOUT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of an environment with the wheel in it; run its ``dicom-node`` from outside the checkout.

    What the wheel depends on is taken from the environment of the tests, which comes later on its path.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    site_packages.joinpath("of_the_tests.pth").write_text(sysconfig.get_path("purelib") + os.linesep)
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    return python.parent


@pytest.fixture(scope="session")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc that is the PACS of ``node``."""
    server = Orthanc(tmp_path_factory.mktemp("pacs"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models: one that works, one that explains itself, and three that fail, each in its way."""
    folder = tmp_path_factory.mktemp("models")
    serve_bundle(folder / "quick")
    serve_bundle(folder / "raises", "raise ValueError('there is no tissue in this')")
    serve_bundle(folder / "hangs", "import time; time.sleep(600)", time_limit_s=3.0)
    serve_bundle(folder / "eats", "hoard = [torch.ones(2**26) for _ in range(1000)]", memory_mb=600)
    serve_explained(folder / "explains")
    return folder


@pytest.fixture(scope="session")
def node(
    installed: Path, pacs: Orthanc, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InstalledNode]:
    """A running node whose results go to ``pacs``; shared, so each test sends a study of its own."""
    served = InstalledNode(installed, tmp_path_factory.mktemp("node"), pacs, RULES, (models,), attempts=1)
    pacs.know("node", "DICOMNODE", served.port)
    try:
        served.start()
        yield served
    finally:
        served.stop()


@pytest.fixture(autouse=True)
def _tell_the_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show what the node wrote during a test beside its failure."""
    served = request.getfixturevalue("node") if "node" in request.fixturenames else None
    before = served.log.stat().st_size if served else 0
    yield
    if served:
        sys.stdout.write(served.log.read_text(errors="replace")[before:])
