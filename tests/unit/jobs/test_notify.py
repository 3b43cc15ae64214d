"""Whom a rule has told, and that the notifier tells them once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies_of_results import RULE, Clinic

from dicom_node.jobs.notify import Notifier, told_by
from dicom_node.settings import NodeSettings, PeerSettings, RuleSettings, Settings


def rule(**given: Any) -> RuleSettings:
    return RuleSettings(**{"name": RULE, "model": "ct_lung_density", "send_to": ("pacs",), **given})


def settings(data_dir: Path, **given: Any) -> Settings:
    peers = tuple(
        PeerSettings(name=name, ae_title=name.upper(), host="127.0.0.1", port=1) for name in ("pacs", "reading")
    )
    return Settings(node=NodeSettings(data_dir=data_dir), peers=peers, rules=(rule(**given),))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ()),
        ({"priority": "urgent"}, ("pacs",)),
        ({"priority": "stat"}, ("pacs",)),
        ({"priority": "stat", "on_no_result": ()}, ()),
        ({"on_no_result": ("reading",)}, ("reading",)),
    ],
)
def test_whom_a_rule_tells(given: dict[str, Any], told: tuple[str, ...]) -> None:
    assert told_by(rule(**given)) == told


def test_a_refused_input_is_told_once(clinic: Clinic) -> None:
    clinic.arrive()
    clinic.refuse(clinic.plan())
    notifier = Notifier(settings(clinic.data_dir, priority="stat"), clinic.database)
    assert [notifier.tick(), notifier.tick()] == [1, 0]
    assert clinic.states("notice") == [("pacs", "due")]
    assert "notice" in clinic.events()


def test_nobody_is_told_where_nobody_is_named(clinic: Clinic) -> None:
    clinic.arrive()
    clinic.refuse(clinic.plan())
    assert Notifier(settings(clinic.data_dir), clinic.database).tick() == 0


def test_lost_images_are_logged_once_and_nothing_else_stops(clinic: Clinic, caplog: pytest.LogCaptureFixture) -> None:
    clinic.arrive()
    clinic.refuse(clinic.plan())
    for file in clinic.data_dir.glob("objects/*/*/*.dcm"):
        file.unlink()
    notifier = Notifier(settings(clinic.data_dir, priority="stat"), clinic.database)
    assert [notifier.tick(), notifier.tick()] == [0, 0]
    assert len([each for each in caplog.records if "no notice" in each.message]) == 1
