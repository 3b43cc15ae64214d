"""A manifest alone says whose a sample is; what is wrong in it is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics import manifest
from dicom_node.sidecars.genomics.manifest import Entry

HEADER = "sample,issuer,patient_id\n"


def test_csv_and_toml_say_the_same(tmp_path: Path) -> None:
    as_csv, as_toml = tmp_path / "m.csv", tmp_path / "m.toml"
    as_csv.write_text("\ufeff# of March\n" + HEADER + "HG002,HOSPITAL,0042\n\nHG003,,P-3\n")
    as_toml.write_text(
        '[[samples]]\nsample = "HG002"\nissuer = "HOSPITAL"\npatient_id = "0042"\n\n'
        '[[samples]]\nsample = "HG003"\npatient_id = "P-3"\n'
    )

    assert manifest.read(as_csv) == (Entry("HG002", "HOSPITAL", "0042", 3), Entry("HG003", "", "P-3", 5))
    assert [(e.sample, e.issuer, e.patient_id) for e in manifest.read(as_toml)] == [
        ("HG002", "HOSPITAL", "0042"),
        ("HG003", "", "P-3"),
    ]
    assert [e.line for e in manifest.read(as_toml)] == [1, 6]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "names no sample", id="empty"),
        pytest.param(HEADER, "names no sample", id="a header alone"),
        pytest.param("name,patient\nA,B\n", "line 1: should be the header", id="another header"),
        pytest.param(HEADER + "A,,1\nA,,2\n", "line 3: sample 'A' stands in line 2 already", id="twice"),
        pytest.param(HEADER + "A,1\n", "line 2: has 2 cells", id="a cell too few"),
        pytest.param(HEADER + ",,1\n", "line 2: sample is empty", id="no sample"),
        pytest.param(HEADER + "A,,\n", "line 2: patient_id is empty", id="no patient"),
        pytest.param(HEADER + 'A,,"1\\2"\n', "character", id="a backslash"),
        pytest.param(HEADER + f"A,,{'9' * 65}\n", "longer than 64", id="too long"),
        pytest.param(HEADER + 'A,,"1\n', "line 2: is no CSV", id="an open quote"),
    ],
)
def test_a_wrong_line_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "m.csv"
    file.write_text(text)

    with pytest.raises(GenomeError) as refused:
        manifest.read(file)

    assert why in str(refused.value)
    assert "m.csv" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("samples = 3", "consists of [[samples]]", id="no tables"),
        pytest.param("[[samples]]\nsample =", "no TOML", id="no TOML"),
        pytest.param(
            '[[samples]]\nsample = "A"\npatient_id = 42\n', "line 1: has a value that is no text", id="number"
        ),
        pytest.param('[[samples]]\nsample = "A"\nmrn = "1"\n', "line 1: should have", id="another key"),
    ],
)
def test_a_wrong_toml_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "m.toml"
    file.write_text(text)

    with pytest.raises(GenomeError, match=r"m\.toml") as refused:
        manifest.read(file)

    assert why in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GenomeError, match="cannot be read"):
        manifest.read(tmp_path / "none.csv")


def test_samples_are_matched_by_name_and_never_by_place() -> None:
    entries = (Entry("NA12878", "", "1", 2),)

    with pytest.raises(GenomeError) as refused:
        manifest.chosen(entries, ("HG002", "HG003", "HG004"), "trio.vcf.gz")

    assert str(refused.value) == "trio.vcf.gz: it has HG002, HG003, HG004; the manifest names NA12878: nothing read"
    assert manifest.chosen(entries, ("HG002", "NA12878"), "f") == entries
