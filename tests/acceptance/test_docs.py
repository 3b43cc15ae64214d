"""What the documents say is true: their commands run, their tables are those of the code, their links lead on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import genomes
import nibabel
import numpy as np
import pytest
import typer.main
import yaml
from peers import end, free_port, wait_until
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from served_bundles import serve_bundle

from dicom_node import contract_file
from dicom_node.cli.main import app
from dicom_node.cli.rules import compiled
from dicom_node.demo import phantom
from dicom_node.demo.pacs import StandInPacs
from dicom_node.domain.polygenic import Polygenic
from dicom_node.domain.standing import Stand
from dicom_node.settings import PeerSettings, Settings, load
from workers.inference.measurements import CATALOGUE

pytestmark = pytest.mark.acceptance

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
PLACEHOLDER = "A1234567"  # in the documents; the phantom's accession number is SYNTHETIC


def blocks(document: Path, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


def table(document: Path, heading: str) -> dict[str, list[str]]:
    """Cells of a section's table by what stands in code in the first column."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", document.read_text(), re.MULTILINE | re.DOTALL)
    assert section, f"{document.name} has no section {heading!r}"
    rows = [line.strip("| \n").split(" | ") for line in section[1].splitlines() if line.startswith("| `")]
    return {key: cells for cells in rows for key in re.findall(r"`([^`]+)`", cells[0])}


COMMANDS = sorted({line for document in DOCUMENTS for block in blocks(document, "sh") for line in block.splitlines()})


@dataclass
class Documented:
    """A node that was set up with the commands of the documents, and has served one study."""

    binaries: Path
    folder: Path
    environment: dict[str, str]
    ran: set[str] = field(default_factory=set)  # commands that its setting up has proved

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = command.replace(PLACEHOLDER, "SYNTHETIC").replace("--epochs 100", "--epochs 1").split()
        return subprocess.run(
            [str(self.binaries / program), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
        )

    def json(self, command: str) -> Any:
        ran = self.run(f"{command} --json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def documented(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Documented]:
    folder = tmp_path_factory.mktemp("documented")
    node = PeerSettings(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=free_port())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DICOM_NODE"))}
    environment = {
        **kept,
        "DICOM_NODE__NODE__HOST": node.host,
        "DICOM_NODE__NODE__PORT": str(node.port),
        "DICOM_NODE__WEB__PORT": str(free_port()),
        "DICOM_NODE__COMPLETION__QUIET_SECONDS": "1",
    }
    made = Documented(installed, folder, environment)
    assert made.run("dicom-node init").returncode == 0
    made.ran.add("dicom-node init")
    configuration = folder / "dicom-node.toml"
    pacs_port = free_port()
    written = configuration.read_text().replace("port = 4242", f"port = {pacs_port}")
    configuration.write_text(written.replace("# [genomics]", '[genomics]\ngenes = ["BRCA1", "TP53"]'))
    images = phantom.write(phantom.compute((40, 160, 200), (8.0, 2.2, 2.2), thickness=None), folder / "images")
    _write_cases(folder / "FOLDER")
    serve_bundle(folder / "my_model")
    _write_genomes(folder)
    with StandInPacs(folder / "pacs", pacs_port, "ORTHANC") as pacs:
        up = subprocess.Popen(
            [installed / "dicom-node", "up"], cwd=folder, env=environment
        )  # pytest shows what it says
        try:
            wait_until(lambda: _reached(pacs, images, node), "the node to take the study", seconds=60)
            wait_until(lambda: len(pacs.received()) == 4, "SEG, SR, key images and summary to come back", seconds=120)
            wait_until(lambda: made.json("dicom-node parcels list --state sent")["parcels"], "the delivery to be noted")
            made.ran.add("dicom-node up")
            yield made
        finally:
            end(up, seconds=40)


def _write_cases(folder: Path) -> None:
    """Cases to evaluate and train with: two bright bodies, one behind the other, each with its label."""
    across, along, up = np.meshgrid(np.arange(36) - 18, np.arange(48) - 24, np.arange(32) - 16, indexing="ij")
    for number in range(5):
        bodies = [np.hypot(np.hypot(across, along - at), up) < 7 + number / 2 for at in (9, -9)]
        labels = (bodies[0] + 2 * (bodies[1] & ~bodies[0])).astype(np.uint8)
        image = 200.0 + 300 * (labels > 0) + np.random.default_rng(number).normal(0, 20, labels.shape)
        for name, values in (("images", image.astype(np.float32)), ("labels", labels)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name / f"case{number}.nii.gz")


def _write_genomes(folder: Path) -> None:
    """What the commands of docs/genomics.md take."""
    (folder / "manifest.csv").write_text("sample,issuer,patient_id\nHG002,HOSPITAL,0042\n")
    (folder / "expression.tsv").write_text("gene\tHG002\nBRCA1\t250\nTP53\t750\n")
    genomes.vcf(folder / "genome.vcf", ["1 100 . A G 50 PASS . GT 0/1"], ("HG002",))
    genomes.score(folder / "PGS000018.txt", [genomes.row(100, "G", "A", 0.5)])
    called = " ".join(("0/0", "0/1", "1/1")[number % 3] for number in range(120))
    people = tuple(f"P{number}" for number in range(120))
    genomes.vcf(folder / "cohort.vcf", [f"1 100 . A G . PASS . GT {called}"], people)


def _reached(pacs: StandInPacs, images: list[Path], node: PeerSettings) -> bool:
    from dicom_node.errors import PeerError

    try:
        pacs.send(images, node)
    except PeerError:
        return False
    return True


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("dicom-node ")])
def test_a_command_of_the_documents_runs(documented: Documented, command: str) -> None:
    if command not in documented.ran:
        ran = documented.run(command)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.strip()


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("dicom-node ")])
def test_every_other_command_is_a_target_of_make(command: str) -> None:
    program, target = command.split()
    ran = subprocess.run([program, "--dry-run", target], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stderr
    assert {"demo": "dicom-node demo", "test": "pytest -n 2 --dist loadfile tests/unit"}[target] in ran.stdout


def test_commands_in_the_text_exist() -> None:
    named = {text for document in DOCUMENTS for text in re.findall(r"`dicom-node ([^`]+)`", document.read_text())}

    assert named
    for text in named:
        command: Any = typer.main.get_command(app)
        for word in re.findall(r"[a-z]+", text.split(" -")[0]):
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"dicom-node {text}"
            command = command.commands[word]
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(--[a-z-]+)", text)) <= options, f"dicom-node {text}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            linked = (document.parent / file).resolve() if file else document
            assert linked.exists(), target
            anchors = [
                re.sub(r"[^a-z -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                for line in (linked.read_text().splitlines() if anchor else ())
                if line.startswith("#")
            ]
            assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("section", Settings.model_fields)
def test_every_key_of_the_configuration_is_described_with_its_default(section: str) -> None:
    annotation = Settings.model_fields[section].annotation
    several = not (isinstance(annotation, type) and issubclass(annotation, BaseModel))
    model: type[BaseModel] = get_args(annotation)[0] if several else annotation
    described = table(CHECKOUT / "docs" / "configuration.md", f"[[{section}]]" if several else f"[{section}]")

    assert list(described) == list(model.model_fields)
    for key, cells in described.items():
        given = cells[2].strip("`")
        default = model.model_fields[key].get_default(call_default_factory=True)
        if default is PydanticUndefined:
            assert given == "needed", key
        elif default is None:
            assert given == "none", key
        else:
            expected = list(default) if isinstance(default, tuple) else default
            written = tomllib.loads(f"value = {given}")["value"]
            assert (Path(written) if isinstance(expected, Path) else written) == expected, key


def test_the_conditions_of_the_example_are_good(tmp_path: Path) -> None:
    example = blocks(CHECKOUT / "docs" / "configuration.md", "toml")[0]
    file = tmp_path / "dicom-node.toml"
    file.write_text(f'[[rules]]\nname = "example"\nmodel = "ct_lung_density"\n{example}')

    (rule,) = compiled(load(file, {})).rules

    assert rule.settings.all
    assert rule.settings.none
    assert rule.settings.prefer


@pytest.mark.parametrize("example", blocks(CHECKOUT / "docs" / "configuration.md", "toml")[1:])
def test_the_entries_of_the_examples_are_good(example: str, tmp_path: Path) -> None:
    pacs = '[[peers]]\nname = "pacs"\nae_title = "ORTHANC"\nhost = "10.0.0.5"\nport = 4242\n'
    file = tmp_path / "dicom-node.toml"
    file.write_text(pacs + example)

    settings = load(file, {}).settings

    assert len(settings.peers) + len(settings.rules) > 1


def test_the_contract_of_the_example_is_good(tmp_path: Path) -> None:
    example, outputs, explanation, polygenic = blocks(CHECKOUT / "docs" / "models.md", "toml")
    file = tmp_path / "model.toml"
    file.write_text(example)
    assert contract_file.record(contract_file.read(file), tmp_path, "").name == "my_model"

    begin, end = example.index("[[segments]]"), example.index("[resources]")
    file.write_text(example[:begin] + example[end:] + outputs + explanation)
    contract_file.record(contract_file.read(file), tmp_path, "")

    written = set(tomllib.loads(example)) | set(tomllib.loads(outputs)) | set(tomllib.loads(explanation))
    assert written == set(contract_file.ContractFile.model_fields) - {"evaluations", "lesions"}

    said = Polygenic.of(tomllib.loads(polygenic)["rules"]["parameters"])
    assert said is not None
    assert said.per_sd == 1.2


def test_every_measurement_is_described() -> None:
    assert set(CATALOGUE) <= set(table(CHECKOUT / "docs" / "models.md", "model.toml"))


def test_every_standing_of_a_study_is_described() -> None:
    text = (CHECKOUT / "docs" / "operations.md").read_text()
    described = {line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("| ")}

    assert {str(stand) for stand in Stand} <= described


def test_the_settings_of_the_containers_are_good() -> None:
    folder = CHECKOUT / "docker"
    composed = yaml.safe_load((folder / "compose.yaml").read_text())["services"]

    for name in ("node", "worker"):
        image = CHECKOUT / composed[name]["build"]["dockerfile"]
        written = dict(re.findall(r"(DICOM_NODE__\w+)=(\S+)", image.read_text()))
        settings = load(None, {**written, **composed[name]["environment"]}).settings
        assert settings.broker.url.startswith("redis://redis:")
        assert settings.node.data_dir == Path("/data")
        assert "data:/data" in composed[name]["volumes"]
