"""Runs ``dicom-node`` commands in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Ran:
    """What became of a command."""

    status: int
    output: str
    error: str

    @property
    def json(self) -> Any:
        """The output, read as JSON."""
        return json.loads(self.output)


RunCommand = Callable[..., Ran]


def runner(capsys: pytest.CaptureFixture[str]) -> RunCommand:
    """A function that runs one command and captures what it prints."""
    from dicom_node.cli.main import main

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return run
