"""Settings: what is wrong is refused with its place, and what is right is taken over whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.settings import load

GOOD = """\
[node]
ae_title = "NODE"
port = 104
data_dir = "data"

[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 4242

[[rules]]
name = "lungs"
model = "ct_lung_density"
all = [
    'Modality == "CT"',
    'instances >= 20',
]
send_to = ["pacs"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dicom-node.toml"
    path.write_text(GOOD)
    return path


def test_a_good_file_is_taken_over(file: Path) -> None:
    settings = load(file, {}).settings

    assert (settings.node.ae_title, settings.node.port) == ("NODE", 104)
    assert settings.node.data_dir == file.parent / "data"
    assert settings.rules[0].all == ('Modality == "CT"', "instances >= 20")
    peer = settings.peer("pacs")
    assert peer is not None and peer.port == 4242
    assert settings.peer("nobody") is None


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("port = 104", "prot = 104", 3, "prot"),
        ("port = 104", "port = 70000", 3, "65535"),
        ("port = 104", 'port = "104"', 3, "'104'"),
        ("port = 104", "port = true", 3, "True"),
        ('ae_title = "NODE"', 'ae_title = "A TITLE THAT IS TOO LONG"', 2, "16"),
        ('ae_title = "NODE"', 'ae_title = "   "', 2, "node.ae_title"),
        ("port = 4242", "", 6, "port"),
        ('send_to = ["pacs"]', 'send_to = ["archive"]', 19, "known: pacs"),
        ("[node]", "[nod]", 1, "nod"),
        ("port = 104", "port = ", 3, "not TOML"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(file: Path, old: str, new: str, line: int, said: str) -> None:
    file.write_text(GOOD.replace(old, new, 1))

    with pytest.raises(ConfigurationError) as refused:
        load(file, {})

    assert said in str(refused.value)
    assert refused.value.line == line
    assert str(refused.value).startswith(f"{file}:{line}: ")


def test_two_of_one_name_are_refused_at_the_second(file: Path) -> None:
    file.write_text(GOOD + '\n[[rules]]\nname = "lungs"\nmodel = "other"\n')

    with pytest.raises(ConfigurationError, match="two rules are named 'lungs'") as refused:
        load(file, {})

    assert refused.value.line == 22


def test_the_environment_overrides_the_file(file: Path) -> None:
    environment = {"DICOM_NODE__NODE__PORT": "11113", "DICOM_NODE__BROKER__URL": "redis://127.0.0.1/0", "PATH": "/bin"}

    settings = load(file, environment).settings

    assert (settings.node.port, settings.broker.url) == (11113, "redis://127.0.0.1/0")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DICOM_NODE__PORT", "1", "SECTION__KEY"),
        ("DICOM_NODE__NODE__PRT", "1", "prt"),
        ("DICOM_NODE__NODE__PORT", "many", "'many'"),
        ("DICOM_NODE__PEERS__NAME", "x", "only be set in the file"),
    ],
)
def test_a_wrong_variable_is_refused(file: Path, variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(file, {variable: value})


def test_a_file_that_is_not_there_is_named_with_the_way_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: there is no such file") as refused:
        load(tmp_path / "none.toml", {})

    assert "dicom-node init" in refused.value.remedy


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    settings = load(None, {}).settings

    assert settings.node.unknown_peers == "reject"
    assert settings.node.data_dir == tmp_path / "dicom-node-data"


def test_an_item_of_an_array_is_found_on_its_own_line(file: Path) -> None:
    refused = load(file, {}).error(("rules", 0, "all", 1), "no such keyword")

    assert refused.line == 17
    assert str(refused) == f"{file}:17: rules[1].all[2]: no such keyword"
