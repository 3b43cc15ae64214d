"""Keys from the environment."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.environment import override
from dicom_node.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "value"), [("104", 104), ("true", True), ('"104"', "104"), ("STAT", "STAT"), ('["a", "b"]', ["a", "b"])]
)
def test_a_value_is_read_as_toml_or_else_as_text(text: str, value: Any) -> None:
    tree: dict[str, Any] = {"node": {"port": 1}}
    override(tree, {"DICOM_NODE__NODE__PORT": text, "PATH": "/bin"})
    assert tree == {"node": {"port": value}}


@pytest.mark.parametrize("variable", ["DICOM_NODE__PORT", "DICOM_NODE__NODE__A__B", "DICOM_NODE__PEERS__NAME"])
def test_a_variable_that_means_no_key_is_refused_by_name(variable: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        override({"peers": []}, {variable: "1"})
