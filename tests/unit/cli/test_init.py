"""``dicom-node init``."""

from __future__ import annotations

import re
from pathlib import Path

from commands import RunCommand

from dicom_node.cli.init import STARTING_FILE
from dicom_node.settings import Settings, load


def test_what_it_writes_loads_and_compiles(run: RunCommand, folder: Path) -> None:
    ran = run("init")
    assert ran.status == 0
    assert str(folder / "dicom-node.toml") in ran.output
    settings = load(folder / "dicom-node.toml", {}).settings
    assert [peer.name for peer in settings.peers] == ["pacs"]
    assert [rule.model for rule in settings.rules] == ["ct_lung_density"]
    assert run("rules", "check").status == 0


def test_what_stands_there_is_kept(run: RunCommand, folder: Path) -> None:
    (folder / "dicom-node.toml").write_text("mine = 1\n")
    ran = run("init")
    assert ran.status == 2
    assert "--force" in ran.error
    assert (folder / "dicom-node.toml").read_text() == "mine = 1\n"


def test_unless_forced(run: RunCommand, folder: Path) -> None:
    (folder / "dicom-node.toml").write_text("mine = 1\n")
    assert run("init", "--force").status == 0
    assert (folder / "dicom-node.toml").read_bytes() == STARTING_FILE.read_bytes()


def test_another_place(run: RunCommand, folder: Path) -> None:
    assert run("--config", "site.toml", "init", "--json").json == {"file": str(folder / "site.toml")}
    ran = run("--config", "none/site.toml", "init")
    assert ran.status == 2
    assert "No such file" in ran.error


def test_every_setting_stands_in_it_with_its_default(folder: Path) -> None:
    text = re.sub(r"^# ?(\[|\w+ = )", r"\1", STARTING_FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown, defaults = _load(folder / "all.toml", text), Settings()
    for section, model in Settings.model_fields.items():
        if section in ("peers", "rules"):
            continue
        told = re.search(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
        assert told, section
        keys = set(re.findall(r"^(\w+) = ", told[1], re.MULTILINE))
        assert keys == set(type(getattr(defaults, section)).model_fields), section
        for key in keys - {
            "data_dir",
            "folders",
            "certificate",
            "key",
            "ca",
            "association_end_seconds",
            "mapping",
            "hl7",
            "seal",
            "hgnc",
        }:
            assert getattr(getattr(shown, section), key) == getattr(getattr(defaults, section), key), (model, key)


def _load(file: Path, text: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load(file, {}).settings
