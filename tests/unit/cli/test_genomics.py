"""``dicom-node genomics``: files come in, become features of the patients a manifest names, and are shown."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import RunCommand
from genomes import CONTIG_37, GT, row, score, vcf

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features
from dicom_node.archive.migrate import migrate

pysam = pytest.importorskip("pysam", reason="pip install 'dicom-node[genomics]'")

CLINVAR = [
    "##fileformat=VCFv4.1",
    "##fileDate=2026-10-01",
    "##source=ClinVar",
    "##reference=GRCh37",
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    "1\t300\t111\tC\tT\t.\t.\tCLNSIG=Pathogenic;CLNREVSTAT=reviewed_by_expert_panel;GENEINFO=BRCA1:672",
    "1\t400\t112\tC\tT\t.\t.\tCLNSIG=Pathogenic;CLNREVSTAT=reviewed_by_expert_panel;GENEINFO=TP53:7157",
]
SECTION = """
[genomics]
genes = ["BRCA1", "TP53"]
clinvar = { GRCh37 = "clinvar.vcf" }

[[genomics.scores]]
file = "height.txt"
"""


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    """A ledger, settings with scores and ClinVar, and a family's genomes with their manifest."""
    made = Database("sqlite", folder / "dicom-node-data")
    migrate(made)
    configuration = folder / "dicom-node.toml"
    configuration.write_text((configuration.read_text() if configuration.exists() else "") + SECTION)
    (folder / "clinvar.vcf").write_text("\n".join(CLINVAR) + "\n")
    score(folder / "height.txt", [row(100, "G", "A", 0.5), row(200, "G", "A", 1.0)])
    (folder / "manifest.csv").write_text("sample,issuer,patient_id\nMOTHER,HOSPITAL,0042\nSOMEBODY,HOSPITAL,7\n")
    family(folder / "family.vcf", "0/1", "1/1")
    yield made
    made.close()


def family(file: Path, first: str, second: str) -> Path:
    records = [
        f"1 100 . A G 50 PASS . GT 0/0 {first}",
        f"1 200 . A G 50 PASS . GT 0/0 {second}",
        "1 300 . C T 50 PASS . GT 0/0 0/1",
    ]
    return vcf(file, records, ("CHILD", "MOTHER"))


def of_patient(database: Database, patient: str = "0042") -> dict[str, object]:
    features = Features(database)
    identity = features.find("HOSPITAL", patient)
    assert identity is not None
    return {feature.name: feature.value for feature in features.of_patient(identity)}


IMPORT = ("genomics", "import", "family.vcf", "--manifest", "manifest.csv")


def test_a_genome_becomes_features_of_the_patient_the_manifest_names(run: RunCommand, database: Database) -> None:
    taken = run(*IMPORT, "--json").json

    (sample,) = taken["samples"]
    assert (sample["sample"], sample["patient"], taken["unnamed_samples"]) == ("MOTHER", "0042", 1)
    assert of_patient(database) == {
        "pgs999999_sum": 2.5,
        "pgs999999_z": None,
        "pathogenic_brca1": "carried",
        "pathogenic_tp53": None,
    }
    (z,) = [feature for feature in sample["features"] if feature["name"] == "pgs999999_z"]
    assert (z["state"], z["reason"], z["version"]) == ("missing", "no named reference is configured", taken["sha256"])


def test_the_same_file_again_changes_nothing(run: RunCommand, database: Database) -> None:
    run(*IMPORT)
    again = run(*IMPORT, "--json").json["samples"][0]

    assert (again["known"], again["changed"]) == (True, 0)
    assert "was here before" in run(*IMPORT).output


def test_a_new_file_of_the_same_sample_takes_the_place_of_the_old_one(
    run: RunCommand, database: Database, folder: Path
) -> None:
    run(*IMPORT)
    family(folder / "family.vcf", "0/0", "0/1")
    configuration = folder / "dicom-node.toml"
    configuration.write_text(configuration.read_text().replace('"BRCA1", "TP53"', '"BRCA1"'))

    run(*IMPORT)

    assert of_patient(database) == {"pgs999999_sum": 1.0, "pgs999999_z": None, "pathogenic_brca1": "carried"}


def test_what_is_kept_can_be_shown(run: RunCommand, database: Database) -> None:
    run(*IMPORT)

    shown = run("genomics", "show", "0042", "--issuer", "HOSPITAL", "--json").json
    text = run("genomics", "show", "0042", "--issuer", "HOSPITAL").output

    (document,) = shown["documents"]
    assert document["reading"]["sample"] == "MOTHER"
    assert "CHILD" not in str(shown)
    assert len(shown["features"]) == 4
    assert "ClinVar 111: chr1:300 C>T, BRCA1, Pathogenic, 3 of 4 stars, 1 of 2 copies" in text
    assert "1 of 1 known pathogenic variants are not called" in text
    nobody = run("genomics", "show", "0042")
    assert (nobody.status, nobody.output.startswith("no genome")) == (1, True)


def test_z_against_a_reference_that_a_cohort_made(run: RunCommand, database: Database, folder: Path) -> None:
    people = tuple(f"P{number}" for number in range(120))
    genotypes = [("0/0", "0/1", "1/1")[number % 3] for number in range(120)]
    vcf(folder / "cohort.vcf", [f"1 {at} . A G . PASS . GT {' '.join(genotypes)}" for at in (100, 200)], people)
    command = ("genomics", "reference", "cohort.vcf", "--score", "height.txt", "--to", "pilot.tsv.gz")

    made = run(*command, "--name", "PILOT", "--population", "volunteers", "--json").json
    configuration = folder / "dicom-node.toml"
    configuration.write_text(configuration.read_text() + 'reference = "pilot.tsv.gz"\n')
    run(*IMPORT)

    assert (made["people"], made["mean"], made["variants"]) == (120, 1.5, 2)
    assert of_patient(database)["pgs999999_z"] == pytest.approx((2.5 - 1.5) / made["sd"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent.vcf",), "there is no such file"),
        (("family.vcf", "--build", "GRCh38"), "contradictory"),
        (("table.tsv",), "no VCF or BCF"),
    ],
)
def test_a_refusal_keeps_nothing(
    run: RunCommand, database: Database, folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    (folder / "table.tsv").write_text("gene\tMOTHER\nBRCA1\t5\n")

    refused = run("genomics", "import", *arguments, "--manifest", "manifest.csv")

    assert refused.status == 1
    assert words in refused.error
    assert Features(database).find("HOSPITAL", "0042") is None


def test_a_table_of_expression(run: RunCommand, database: Database, folder: Path) -> None:
    (folder / "table.tsv").write_text("gene\tMOTHER\tCHILD\nBRCA1\t250\t3\nOTHER\t750\t4\n")
    command = ("genomics", "import", "table.tsv", "--manifest", "manifest.csv", "--expression", "counts")

    run(*command, "--taken-at", "2026-03-01T08:15+01:00")

    assert of_patient(database) == {"cpm_brca1": 250_000.0}
    refused = run(*command)
    assert (refused.status, "--taken-at" in refused.error) == (2, True)


CSQ = """\
##gff-version 3
1\ttest\tgene\t91\t150\t.\t+\t.\tID=gene:G1;Name=BRCA1;biotype=protein_coding
1\ttest\tmRNA\t91\t150\t.\t+\t.\tID=transcript:T1;Parent=gene:G1;biotype=protein_coding
1\ttest\texon\t91\t150\t.\t+\t.\tParent=transcript:T1
1\ttest\tCDS\t91\t150\t.\t+\t0\tParent=transcript:T1
"""


@pytest.mark.peer
def test_consequences_are_those_of_bcftools(run: RunCommand, database: Database, folder: Path) -> None:
    bases = "A" * 90 + "ATG" + "GCTTGGCAA" * 6 + "TAA" + "A" * 100
    (folder / "ref.fa").write_text(f">1\n{bases}\n")
    pysam.faidx(str(folder / "ref.fa"))
    (folder / "genes.gff3").write_text(CSQ)
    configuration = folder / "dicom-node.toml"
    configuration.write_text(
        configuration.read_text().replace(
            "clinvar =", 'sequences = { GRCh37 = "ref.fa" }\nannotations = { GRCh37 = "genes.gff3" }\nclinvar ='
        )
    )
    # GCT TGG CAA: A>V by C to T at 95; TGG to TAG at 98
    lines = ["1 95 . C T 50 PASS . GT 0/1", "1 96 . T C 50 PASS . GT 0/1", "1 98 . G A 50 PASS . GT 1/1"]
    vcf(folder / "family.vcf", lines, ("MOTHER",), header=(CONTIG_37, GT))

    run(*IMPORT)

    assert of_patient(database)["consequence_brca1"] == "missense, stop_gained"
    found = run("genomics", "show", "0042", "--issuer", "HOSPITAL", "--json").json["documents"][0]["reading"]
    ours = sorted((each["place"], each["consequence"], each["copies"]) for each in found["consequences"])
    assert ours == [("1:95 C>T", "missense", 1), ("1:98 G>A", "stop_gained", 2)]
    if shutil.which("bcftools"):
        command = ["bcftools", "csq", "-l", "-f", "ref.fa", "-g", "genes.gff3", "family.vcf"]
        theirs = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        assert theirs.count("missense|BRCA1") == 1
        assert theirs.count("stop_gained|BRCA1") == 1
        assert theirs.count("synonymous|BRCA1") == 1
