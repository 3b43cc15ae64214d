"""What makes a model faster here is kept, and used on the same device, torch and bundle only."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dicom_node.archive.optimised import FILE, Choice, Optimised, Options, read
from dicom_node.errors import ConfigurationError


def choice(options: Options, model: str = "lungs") -> Choice:
    return Choice(model, options, 0.999, 0.9995, 0.5, 1.0, 3, "2026-11-27T05:00:00+00:00", ({"options": "x"},))


@pytest.fixture
def here(tmp_path: Path) -> Optimised:
    return Optimised(tmp_path, "cpu (Some processor, 2 threads)", "2.13.0")


def test_a_choice_outlives_the_process(tmp_path: Path, here: Optimised) -> None:
    chosen = choice(Options(channels_last=True, windows=8))
    here.put("ab", chosen)
    assert Optimised(tmp_path, "cpu (Some processor, 2 threads)", "2.13.0").get("ab") == chosen
    assert here.get("cd") is None
    assert str(chosen) == (
        "channels last, 8 windows at a time: 2.00 times as fast, agreement 0.9995 on 3 case(s), measured 2026-11-27"
    )


@pytest.mark.parametrize(
    "other", [("cpu (Another, 2 threads)", "2.13.0"), ("cpu (Some processor, 2 threads)", "2.14.0")]
)
def test_on_another_device_or_torch_it_is_not_used_and_that_is_told(
    tmp_path: Path, here: Optimised, other: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    here.put("ab", choice(Options(windows=4)))
    elsewhere = Optimised(tmp_path, *other)
    with caplog.at_level(logging.WARNING):
        assert elsewhere.get("ab") is None
    assert "lungs was optimised on cpu (Some processor, 2 threads), torch 2.13.0" in caplog.text
    elsewhere.put("ab", choice(Options(windows=2)))
    assert [here.get("ab"), elsewhere.get("ab")] == [choice(Options(windows=4)), choice(Options(windows=2))]


def test_an_exported_network_that_is_gone_is_not_missed_silently(
    here: Optimised, caplog: pytest.LogCaptureFixture
) -> None:
    file = here.exported("f" * 64)
    file.parent.mkdir()
    file.write_bytes(b"network")
    here.put("ab", choice(Options(onnx="f" * 64)))
    assert here.get("ab") is not None
    file.unlink()
    with caplog.at_level(logging.WARNING):
        assert here.get("ab") is None
    assert "its exported network is gone" in caplog.text


def test_what_is_forgotten_takes_its_exported_network_along(tmp_path: Path, here: Optimised) -> None:
    for name in ("f" * 64, "e" * 64):
        here.exported(name).parent.mkdir(exist_ok=True)
        here.exported(name).write_bytes(b"network")
    here.put("ab", choice(Options(onnx="f" * 64)))
    here.put("cd", choice(Options(onnx="e" * 64), "liver"))
    assert here.forget("ab")
    assert not here.forget("ab")
    assert not here.exported("f" * 64).exists()
    assert here.exported("e" * 64).exists()
    assert list(read(tmp_path)) == ["cd"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"ab": {"cpu": {"model": "lungs"}}}'])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, here: Optimised, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        here.get("ab")


def test_a_data_directory_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    new = Optimised(tmp_path / "data", "cpu", "2.13.0")
    new.put("ab", choice(Options(windows=4)))
    assert new.get("ab") == choice(Options(windows=4))
