"""Logs hold what happened, and nobody's name."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node import logs
from dicom_node.errors import HeaderError


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def _lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_file_holds_json_lines_with_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "logs" / "node.log"
    logs.configure("node", file=file)

    logging.getLogger("dicom_node.jobs").info("job done", extra={"job": 7, "study": "1.2.3", "seconds": 1.5})

    (line,) = _lines(file)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("at")))
    assert line == {
        "level": "info",
        "process": "node",
        "logger": "dicom_node.jobs",
        "message": "job done",
        "job": 7,
        "study": "1.2.3",
        "seconds": 1.5,
    }
    assert "node  job done job=7 seconds=1.5 study=1.2.3" in capsys.readouterr().err


def test_terminal_may_speak_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("worker-cpu", json=True)
    logging.getLogger("workers").warning("slow")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["process"], line["message"]) == ("warning", "worker-cpu", "slow")


def test_fields_that_are_not_known_are_named_and_not_written(tmp_path: Path) -> None:
    file = tmp_path / "node.log"
    logs.configure("node", file=file)
    logging.getLogger("x").info("stored", extra={"PatientName": "DOE^JANE", "patient_id": "4711", "job": 1})
    text = file.read_text(encoding="utf-8")
    assert "DOE" not in text
    assert "4711" not in text
    (line,) = _lines(file)
    assert line["withheld"] == ["PatientName", "patient_id"]
    assert line["job"] == 1


def test_foreign_exception_is_logged_without_its_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "node.log"
    logs.configure("node", file=file)
    try:
        raise ValueError("invalid literal 'DOE^JANE'")
    except ValueError:
        logging.getLogger("x").exception("a stage failed")
    assert "DOE" not in file.read_text(encoding="utf-8") + capsys.readouterr().err
    error = _lines(file)[0]["error"]
    assert isinstance(error, dict)
    assert error["type"] == "ValueError"
    assert "test_logs.py" in error["at"][-1]


@pytest.mark.parametrize("error", [HeaderError("Rows is absent"), OSError(28, "No space left on device")])
def test_our_errors_and_those_of_the_system_keep_their_text(tmp_path: Path, error: Exception) -> None:
    file = tmp_path / "node.log"
    logs.configure("node", file=file)
    try:
        raise error
    except type(error):
        logging.getLogger("x").exception("a stage failed")
    told = _lines(file)[0]["error"]
    assert isinstance(told, dict)
    assert told["message"] == str(error)


@pytest.mark.parametrize("name", ["pynetdicom.acse", "pydicom", "celery.worker", "uvicorn.access", "sqlalchemy.engine"])
def test_libraries_are_quiet(tmp_path: Path, name: str) -> None:
    file = tmp_path / "node.log"
    logs.configure("node", level="DEBUG", file=file)
    logging.getLogger(name).info("Patient ID: 4711")
    assert not file.exists()
    logging.getLogger(name).error("gone wrong")
    assert _lines(file)[0]["message"] == "gone wrong"


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("first")
    logs.configure("second")
    logging.getLogger("x").info("once")
    assert capsys.readouterr().err.count("once") == 1


@given(message=st.text(), value=st.one_of(st.text(), st.integers(), st.floats(allow_nan=False)))
def test_every_record_is_one_line_of_json(message: str, value: object) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter("node"))
    record = logging.makeLogRecord({"msg": "%s", "args": (message,), "name": "x", "job": value})
    handler.emit(record)
    line, rest = stream.getvalue().split("\n", 1)
    assert rest == ""
    assert json.loads(line)["message"] == message
