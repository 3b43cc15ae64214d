"""A configuration that cannot work is refused at the start, with its place and what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from installed_node import InstalledNode
from peers import Orthanc
from served_bundles import serve_bundle

pytestmark = pytest.mark.acceptance

RULE = """
[[rules]]
name = "quick"
model = "quick"
all = ['Modality == "MR"']
send_to = ["pacs"]
"""


@pytest.fixture
def fresh(installed: Path, tmp_path: Path) -> InstalledNode:
    """A node that was never started, with a bundle of its own."""
    (tmp_path / "models").mkdir()
    serve_bundle(tmp_path / "models" / "quick")
    return InstalledNode(installed, tmp_path / "node", Orthanc(tmp_path / "pacs"), RULE, (tmp_path / "models",))


def refused(node: InstalledNode, *words: str) -> str:
    """What ``up`` says when it ends at once, as it must, with the status of a wrong configuration."""
    ran = node.run("up", seconds=60)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 2, said
    assert "Traceback" not in said
    for word in words:
        assert word in said, said
    return said


def line_of(node: InstalledNode, text: str) -> int:
    lines = node.configuration.read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_an_unknown_key(fresh: InstalledNode) -> None:
    fresh.rules += "\n[web_pages]\nport = 80\n"
    fresh.configure()

    refused(fresh, f"dicom-node.toml:{line_of(fresh, '[web_pages]')}", "web_pages", "unknown key")


def test_a_wrong_value(fresh: InstalledNode) -> None:
    fresh.port = 70000
    fresh.configure()

    refused(fresh, f"dicom-node.toml:{line_of(fresh, 'port = 70000')}", "node.port", "65535")


def test_a_rule_with_an_attribute_that_does_not_exist(fresh: InstalledNode) -> None:
    fresh.rules = RULE.replace('Modality == "MR"', 'Modalty == "MR"')
    fresh.configure()

    refused(fresh, f"dicom-node.toml:{line_of(fresh, 'Modalty')}", "Modalty", "Modality")


def test_a_rule_whose_model_is_not_there(fresh: InstalledNode) -> None:
    fresh.rules = RULE.replace('model = "quick"', 'model = "quack"')
    fresh.configure()

    refused(fresh, f"dicom-node.toml:{line_of(fresh, 'quack')}", "'quack'", "known: ct_lung_density,", "quick")


def test_a_rule_whose_bundle_is_broken(fresh: InstalledNode, tmp_path: Path) -> None:
    (tmp_path / "models" / "quick" / "LICENSE").unlink()
    fresh.configure()

    refused(fresh, f"dicom-node.toml:{line_of(fresh, 'model = ')}", "LICENSE is missing", "restore the bundle's files")


@pytest.mark.parametrize("which", ["port", "web_port"])
def test_a_port_that_is_taken(which: str, fresh: InstalledNode) -> None:
    fresh.configure()
    with socket.create_server(("127.0.0.1", getattr(fresh, which))):
        refused(fresh, f"127.0.0.1:{getattr(fresh, which)}", {"port": "node.port", "web_port": "web.port"}[which])


def test_no_configuration_at_all(fresh: InstalledNode) -> None:
    fresh.folder.mkdir()

    refused(fresh, str(fresh.configuration), "dicom-node init")
