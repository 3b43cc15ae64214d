"""How a contract asks for its results to be told, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from served_bundles import serve_bundle

from dicom_node.catalogue import load_contract
from dicom_node.domain.output import Encoding, MapMethod, MaskOutput
from dicom_node.errors import ContractError

CHANNELS = '\n[[outputs]]\nname = "masks"\nkind = "channels"\nsegments = ["bright"]\n'


def written(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "bright"
    serve_bundle(folder)
    with (folder / "model.toml").open("a") as file:
        file.write(text)
    return folder


def test_fractional_with_kept_probabilities(tmp_path: Path) -> None:
    contract = load_contract(written(tmp_path, CHANNELS + 'keep = true\n[result]\nsegmentation = "FRACTIONAL"\n'))

    assert contract.encoding is Encoding.FRACTIONAL
    (output,) = contract.outputs
    assert isinstance(output, MaskOutput)
    assert output.keep


def test_nothing_is_asked_for_where_nothing_is_said(tmp_path: Path) -> None:
    assert load_contract(written(tmp_path, "")).encoding is None


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('[result]\nsegmentation = "FRACTIONAL"\n', "result.segmentation", "keep = true"),
        (CHANNELS + '[result]\nsegmentation = "FRACTIONAL"\n', "result.segmentation", "keep = true"),
        (CHANNELS + '[result]\nsegmentation = "LABELMAP"\n', "result.segmentation", "may overlap"),
        ('[result]\nsegmentation = "SURFACE"\n', "result.segmentation", "'SURFACE'"),
        ('[explanation]\noutput = "x"\nmethod = "occlusion"\n', "explanation.output", "no output of classes"),
        (
            '[explanation]\noutput = "segmentation"\nmethod = "occlusion"\n',
            "explanation.output",
            "no output of classes",
        ),
        ('[uncertainty]\nmethod = "views"\n', "uncertainty.flips", "views need flips"),
        ('[uncertainty]\nmethod = "members"\nflips = ["W"]\n', "uncertainty.flips", "views need flips"),
        ('[uncertainty]\nmethod = "call"\n', "uncertainty.call", "name the method"),
        ('[uncertainty]\nmethod = "thresholds"\n', "uncertainty.method", "keep = true"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_key(tmp_path: Path, text: str, key: str, message: str) -> None:
    with pytest.raises(ContractError, match=message) as refused:
        load_contract(written(tmp_path, text))
    assert refused.value.key == key
    assert refused.value.line


ANSWERS = """
[[outputs]]
name = "quality"
kind = "classes"
exclusive = true

[[outputs.classes]]
name = "good"
concept = { CodeValue = "1", CodingSchemeDesignator = "99TEST", CodeMeaning = "Good" }

[[outputs]]
name = "masks"
kind = "labels"

[explanation]
output = "quality"
"""


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('method = "grad-cam"\n', "explanation.layer", "name of a layer"),
        ('method = "occlusion"\nlayer = "body"\n', "explanation.layer", "occlusion has none"),
        ('method = "occlusion"\nof = "bad"\n', "explanation.of", "no 'bad'"),
    ],
)
def test_an_explanation_that_cannot_be_is_refused(tmp_path: Path, text: str, key: str, message: str) -> None:
    with pytest.raises(ContractError, match=message) as refused:
        load_contract(written(tmp_path, ANSWERS + text))
    assert refused.value.key == key


def test_an_explanation_is_read(tmp_path: Path) -> None:
    made = load_contract(written(tmp_path, ANSWERS + 'method = "occlusion"\nof = "good"\n')).explanation
    assert made is not None
    assert (made.output, made.method, made.of) == ("quality", MapMethod.OCCLUSION, "good")
