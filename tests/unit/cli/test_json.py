"""``docs/json.md`` lists the keys that ``--json`` gives, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import RunCommand

DOCUMENT = (Path(__file__).parents[3] / "docs" / "json.md").read_text(encoding="utf-8")
FREE = {"parameters", "withheld", "timings", "versions", "detail", "values"}  # names in them are not ours
RULE = '[[rules]]\nname = "lungs"\nmodel = "ct_lung_density"\nall = ["instances >= 20"]\n'
PEER = '[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 1\n'


def _keys(value: Any) -> Iterator[str]:
    """Keys of all objects within ``value``."""
    if isinstance(value, list):
        for item in value:
            yield from _keys(item)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key not in FREE:
                yield from _keys(inner)


def _section(title: str) -> set[str]:
    """Everything written as code under a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, title
    return set(re.findall(r"`(\w+)`", found[1]))


@pytest.fixture
def configured(folder: Path, full: Any) -> Path:
    (folder / "dicom-node.toml").write_text(RULE + PEER)
    return folder


@pytest.mark.parametrize(
    ("command", "list_of", "sections"),
    [
        (["studies", "list"], "studies", ["Study"]),
        (["studies", "show", "1"], None, ["Story", "Job", "Parcel"]),
        (["studies", "show", "7"], None, ["Story", "Job", "Parcel"]),
        (["studies", "show", "8"], None, ["Story"]),
        (["studies", "history", "1"], "events", ["Event"]),
        (["jobs", "list"], "jobs", ["Job"]),
        (["parcels", "list"], "parcels", ["Parcel"]),
        (["models", "list"], "models", ["Model"]),
        (["models", "show", "ct_lung_density"], None, ["Model"]),
        (["rules", "check"], "rules", ["Rule"]),
        (["rules", "explain", "1"], "rules", ["Explanation"]),
        (["peers", "list"], "peers", ["Peer"]),
    ],
)
def test_every_key_is_documented(
    run: RunCommand, configured: Path, command: list[str], list_of: str | None, sections: list[str]
) -> None:
    data = run(*command, "--json").json
    given = set(_keys(data[list_of] if list_of else data))
    assert given
    assert given - set().union(*map(_section, sections)) == set()


def test_the_counters_are_documented(full: Any) -> None:
    from dicom_node.archive import overview

    assert set(overview.counters(full.database)) <= _section("Counters")


def test_every_documented_key_of_a_study_is_given(run: RunCommand, configured: Path) -> None:
    given = set(_keys(run("studies", "list", "--json").json["studies"]))
    standings = {"arriving", "deciding", "held", "unwanted", "waiting", "queued", "running", "failed", "delivering"}
    assert _section("Study") - given == standings | {"undelivered", "delivered", "finished"}


def test_every_command_is_in_the_table() -> None:
    from typer.main import get_command

    from dicom_node.cli.main import app

    silent = {"up", "serve", "worker", "sidecar", "demo"}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        if command.hidden or name in silent:
            continue
        for inner in getattr(command, "commands", {"": None}):
            if (name, inner) == ("models", "train"):  # shows its progress, and leaves files
                continue
            assert re.search(rf"^\| `{' '.join((name, inner)).strip()}\b", DOCUMENT, re.MULTILINE), (name, inner)
