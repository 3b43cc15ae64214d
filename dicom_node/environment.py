"""Settings from the environment."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from dicom_node.errors import ConfigurationError

PREFIX = "DICOM_NODE__"


def override(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Set keys of the tree as ``DICOM_NODE__SECTION__KEY`` in the environment says.

    Raises:
        ConfigurationError: a variable of that prefix has another form, or means a list of tables.
    """
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        parts = variable.removeprefix(PREFIX).lower().split("__")
        if len(parts) != 2:
            raise ConfigurationError(
                f"the variable must be {PREFIX}SECTION__KEY", key=variable, remedy="rename or unset it"
            )
        section, key = parts
        part = tree.setdefault(section, {})
        if not isinstance(part, dict):
            raise ConfigurationError(f"[[{section}]] can only be set in the file", key=variable)
        part[key] = _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
