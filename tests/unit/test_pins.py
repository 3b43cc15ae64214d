from pathlib import Path

import pytest

from dicom_node import pins
from dicom_node.errors import ConfigurationError


def test_a_pin_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert pins.read(tmp_path) == {}

    pins.write(tmp_path / "data", "lungs", "ab" * 32)
    pins.write(tmp_path / "data", "liver", "cd" * 32)
    pins.write(tmp_path / "data", "lungs", "ef" * 32)

    assert pins.read(tmp_path / "data") == {"lungs": "ef" * 32, "liver": "cd" * 32}


@pytest.mark.parametrize("text", ["{", "[]", '{"lungs": 5}'])
def test_a_damaged_file_is_refused_rather_than_forgotten(tmp_path: Path, text: str) -> None:
    (tmp_path / pins.FILE).write_text(text)

    with pytest.raises(ConfigurationError, match="cannot be read"):
        pins.read(tmp_path)
