"""The exception tree: drawn as it is, and whole on the way between processes."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from dicom_node import errors
from dicom_node.errors import ConfigurationError, DicomNodeError


def _tree(kind: type[DicomNodeError]) -> list[type[DicomNodeError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


KINDS = [kind for kind in _tree(DicomNodeError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling(kind: type[DicomNodeError]) -> None:
    sent = kind("what happened", reason="some-reason", remedy="what to do")

    received = pickle.loads(pickle.dumps(sent))  # noqa: S301  our own bytes

    assert type(received) is kind
    assert (str(received), received.reason, received.remedy) == ("what happened", "some-reason", "what to do")
    assert vars(received) == vars(sent)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_name_of_its_own(kind: type[DicomNodeError]) -> None:
    reason = kind("what happened").reason

    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", reason)
    assert [other.default_reason for other in KINDS].count(reason) == 1


def test_the_drawing_shows_the_tree() -> None:
    drawn = re.findall(r"^.*?([A-Z][A-Za-z]+)(?:  |$)", (errors.__doc__ or "").split("Each carries")[0], re.MULTILINE)

    assert {kind.__name__ for kind in KINDS} <= set(drawn)


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ({"file": Path("node.toml"), "line": 3, "key": "node.port"}, "node.toml:3: node.port: wrong"),
        ({"file": Path("node.toml")}, "node.toml: wrong"),
        ({"key": "node.port"}, "node.port: wrong"),
        ({}, "wrong"),
    ],
)
def test_a_configuration_error_says_where(place: dict[str, object], shown: str) -> None:
    assert str(ConfigurationError("wrong", **place)) == shown  # type: ignore[arg-type]


def test_a_configuration_error_keeps_its_place_over_pickling() -> None:
    received = pickle.loads(pickle.dumps(ConfigurationError("wrong", file=Path("a"), line=3, key="k")))  # noqa: S301

    assert (str(received), received.file, received.line, received.key) == ("a:3: k: wrong", Path("a"), 3, "k")
