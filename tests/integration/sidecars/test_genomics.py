"""Genomes of others, beside bcftools, PLINK and what those who made them say; and files that are broken."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from genomes import CONTIG_37, GT, row, score, vcf
from peers import program, wait_until

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics import process, scorefile
from dicom_node.sidecars.genomics.alleles import Variant, normalise, split
from dicom_node.sidecars.genomics.order import Limits, Order, ScoreOrder

pysam = pytest.importorskip("pysam", reason="pip install 'dicom-node[genomics]'")
pytest.importorskip("pysam.bcftools")

DATA = os.environ.get("DICOM_NODE_TEST_DATA")
GENOMICS = Path(DATA or "none") / "genomics"
real_data = pytest.mark.usefixtures("test_data")
CHECKOUT = Path(__file__).parents[3]
COHORT = GENOMICS / "cineca_pgs001229" / "cineca_synthetic_subset.vcf.gz"
HEIGHT = GENOMICS / "cineca_pgs001229" / "PGS001229_22.txt"


def read(file: Path, *samples: str, **more: Any) -> dict[str, Any]:
    return process.read(Order(file, samples or ("S1",), **more), Limits(memory_mb=1000, cpu_seconds=60))


def refusal(file: Path, *samples: str, **more: Any) -> GenomeError:
    with pytest.raises(GenomeError) as refused:
        read(file, *samples, **more)
    assert file.name in str(refused.value)
    return refused.value


# bcftools


class Fasta:
    def __init__(self, file: Path) -> None:
        self._file = pysam.FastaFile(str(file))

    def fetch(self, chromosome: str, start: int, end: int) -> str:
        return str(self._file.fetch(chromosome, max(0, start), end)).upper()


@pytest.mark.peer
@real_data
@real_data
@pytest.mark.parametrize("case", ["norm", "norm.2", "norm.split", "norm.4"])
def test_normal_forms_are_those_of_bcftools(tmp_path: Path, case: str) -> None:
    bcftools = program("bcftools")
    folder = GENOMICS / "bcftools_norm_csq"
    file = folder / f"{case}.vcf"
    fasta = tmp_path / "ref.fa"
    sequence = folder / f"{case}.fa"
    shutil.copy(sequence if sequence.exists() else folder / "norm.fa", fasta)
    fasta.chmod(0o600)
    pysam.faidx(str(fasta))

    ran = subprocess.run(
        [bcftools, "norm", "-m", "-any", "-c", "w", "-f", str(fasta), str(file)], capture_output=True, text=True
    )
    theirs = {variant for line in ran.stdout.splitlines() for variant in variants(line)}
    reference = Fasta(fasta)
    ours = {normalise(variant, reference) for line in file.read_text().splitlines() for variant in variants(line)}

    assert len(theirs) >= 1
    assert ours == theirs


def variants(line: str) -> list[Variant]:
    if line.startswith("#") or not line:
        return []
    name, position, _, ref, alts, *_ = line.split("\t")
    return [variant for _, variant in split(name, int(position), ref, alts.split(","))]


@real_data
@real_data
def test_consequences_are_those_of_bcftools(tmp_path: Path) -> None:
    for name in ("csq.vcf", "csq.fa", "csq.gff3"):
        shutil.copy(GENOMICS / "bcftools_norm_csq" / name, tmp_path)
        (tmp_path / name).chmod(0o600)
    genome, sequence, genes = (tmp_path / name for name in ("csq.vcf", "csq.fa", "csq.gff3"))
    pysam.faidx(str(sequence))
    # By the bcftools within pysam: Debian's 1.16 has fewer kinds of consequences. What is compared is whose they are.
    options = ["-l", "-f", str(sequence), "-g", str(genes), "-s", "SmplAAA", "-O", "b", "-o", str(tmp_path / "c.bcf")]
    pysam.bcftools.csq(*options, str(genome), catch_stdout=False)
    query = ["-f", "%CHROM:%POS %REF>%ALT[\t%TBCSQ]\n", str(tmp_path / "c.bcf")]
    lines = pysam.bcftools.query(*query).splitlines()
    theirs = [
        (place, text.split("|")[0].lstrip("*"))
        for place, *haplotypes in (line.split("\t") for line in lines)
        for haplotype in haplotypes
        for text in haplotype.split(",")
        if text.split("|")[1:2] in (["XYZ"], ["QWRTY"])
    ]

    ours = process.consequences(genome, "SmplAAA", sequence, genes, ("XYZ", "QWRTY"), Limits(memory_mb=1000))

    silent = {"intron", "synonymous", "5_prime_utr", "3_prime_utr", "non_coding", "intergenic"}
    expected = sorted(each for each in theirs if each[1] not in silent)
    assert len(expected) > 15
    assert sorted((each["place"], each["consequence"]) for each in ours for _ in range(each["copies"])) == expected


# PLINK


@pytest.mark.peer
@real_data
@real_data
def test_scores_are_those_of_plink(tmp_path: Path) -> None:
    plink = program("plink2")
    table = scorefile.read(HEIGHT)
    weights = tmp_path / "weights.tsv"
    usable = [at for at in range(len(table)) if not table.excluded[at]]
    weights.write_text(
        "".join(f"22:{table.position[at]}\t{table.effect[at]}\t{float(table.weight[at])!r}\n" for at in usable)
    )
    command = [plink, "--vcf", str(COHORT), "--set-all-var-ids", "@:#", "--out", str(tmp_path / "plink")]
    command += ["--score", str(weights), "no-mean-imputation", "cols=+scoresums", "--threads", "1", "--memory", "700"]
    subprocess.run(command, check=True, capture_output=True)
    with (tmp_path / "plink.sscore").open() as lines:
        theirs = {line["#IID"]: float(line["SCORE1_SUM"]) for line in csv.DictReader(lines, delimiter="\t")}
    people = sorted(theirs)[:200]

    answer = read(COHORT, *people, scores=(ScoreOrder(HEIGHT, part=True),))

    assert answer["build"]["rung"] == "known positions"
    results = answer["scores"][0]["results"]
    assert len(results) == 200
    # pgscatalog-match 2.0.4: 782 matched, 47 ambiguous, 6 unmatched
    assert {(r["used"] + r["why_not"].get("not called", 0), *_few(r)) for r in results} == {(782, 47, 6)}
    for name, result in zip(answer["samples"], results, strict=True):
        assert result["overlap"] > 0.9
        assert result["sum"] == pytest.approx(theirs[name], rel=1e-5, abs=1e-6)  # PLINK prints six digits


def _few(result: dict[str, Any]) -> tuple[int, int]:
    return result["why_not"]["strand ambiguous"], result["why_not"]["no record"]


# Kinds of files


GVCF = (
    "1 100 . A <NON_REF> . . END=199 GT:GQ 0/0:50",
    "1 200 . A G,<NON_REF> 50 PASS . GT:GQ 0/1:99",
    "1 201 . C <NON_REF> . . END=300 GT:GQ 0/0:5",
    "1 301 . T . . . . GT:GQ 0/0:99",
)
GVCF_HEADER = (
    CONTIG_37,
    GT,
    '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="GQ">',
    '##INFO=<ID=END,Number=1,Type=Integer,Description="END">',
    '##ALT=<ID=NON_REF,Description="any">',
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    rows = [row(100, "A", "G", 1.0), row(200, "G", "A", 10.0), row(201, "T", "C", 100.0), row(301, "C", "T", 1000.0)]
    return score(tmp_path / "s.txt", [*rows, row(500, "C", "T", 9.0)])


@pytest.mark.peer
def test_every_way_to_write_a_genome_gives_the_same(tmp_path: Path, weights: Path) -> None:
    bcftools = program("bcftools")
    plain = vcf(tmp_path / "plain.g.vcf", GVCF, header=GVCF_HEADER)
    written = {"plain": plain}
    for name, kind in (("zipped.vcf.gz", "z"), ("binary.bcf", "b"), ("raw.bcf", "u")):
        subprocess.run([bcftools, "view", "-O", kind, "-o", tmp_path / name, plain], check=True, capture_output=True)
        written[name] = tmp_path / name
    indexed = tmp_path / "indexed.vcf.gz"
    shutil.copy(written["zipped.vcf.gz"], indexed)
    subprocess.run([bcftools, "index", "-t", indexed], check=True)

    answers = [
        read(file, scores=(ScoreOrder(weights),), least_overlap=0.5)["scores"][0]["results"][0]
        for file in (*written.values(), indexed)
    ]

    assert len(answers) == 5
    assert answers[0]["sum"] == 2 * 1.0 + 10.0 + 0.0
    assert answers[0]["why_not"] == {"no record": 1, "low quality": 1}
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("version", ["VCFv4.1", "VCFv4.2", "VCFv4.3", "VCFv4.4"])
def test_versions_of_the_format(tmp_path: Path, weights: Path, version: str) -> None:
    genotype = "/0|1" if version == "VCFv4.4" else "0|1"
    records = [
        f"chr1 200 . A G,<*> . PASS . GT {genotype}",
        "chr1 0 . N <DEL> . PASS . GT 0/1",  # at the telomere
        "chr1 205 . a g . PASS . GT 0/1",
        "chr1 206 . A A]chr1:900] . PASS . GT 0/1",
        "chrUn_1 5 . A G . PASS . GT 0/1",
    ]
    header = (CONTIG_37.replace("ID=1", "ID=chr1"), "##contig=<ID=chrUn_1,length=900>", GT)

    answer = read(vcf(tmp_path / "g.vcf", records, header=header, version=version), scores=(ScoreOrder(weights),))

    assert answer["version"] == version
    assert answer["counts"] == {"records": 5, "not_passed": 0, "symbolic": 0, "blocks": 0, "elsewhere": 1}
    assert answer["scores"][0]["results"][0]["used"] == 1


def test_a_file_of_variants_alone_does_not_say_that_the_rest_is_the_reference(tmp_path: Path, weights: Path) -> None:
    answer = read(vcf(tmp_path / "v.vcf", ["1 200 . A G 50 PASS . GT 0/1"]), scores=(ScoreOrder(weights),))

    result = answer["scores"][0]["results"][0]
    assert (result["sum"], result["used"], result["why_not"]) == (None, 1, {"no record": 4})
    assert result["reason"] == "PGS999999 needs 5 variants, 1 usable (20.0 %), below 75 %: not reported"


def test_dosages_call_where_they_are_near_a_whole_number(tmp_path: Path) -> None:
    weights = score(tmp_path / "s.txt", [row(100, "G", "A", 1.0), row(200, "T", "C", 10.0), row(300, "C", "A", 100.0)])
    records = ["1 100 . A G . PASS . DS 1.96", "1 200 . C T . PASS . DS 0.93", "1 300 . A C . PASS . DS 0.02"]
    header = (CONTIG_37, '##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">')
    (found,) = read(vcf(tmp_path / "g.vcf", records, header=header), scores=(ScoreOrder(weights),))["scores"]
    assert found["results"][0]["sum"] == 2 * 1.0 + 1 * 10.0
    records[1] = "1 200 . C T . PASS . DS 0.6"
    (doubt,) = read(vcf(tmp_path / "d.vcf", records, header=header), scores=(ScoreOrder(weights),))["scores"]
    assert doubt["results"][0]["used"] == 2 and doubt["results"][0]["why_not"] == {"not called": 1}
    # A genotype that was called counts, whatever its dosage is.
    both = (*header, GT)
    records = [f"1 {at} . {ref} {alt} . PASS . GT:DS 0/0:2" for at, ref, alt in ((100, "A", "G"), (200, "C", "T"))]
    records.append("1 300 . A C . PASS . GT:DS ./.:1.0")
    (called,) = read(vcf(tmp_path / "b.vcf", records, header=both), scores=(ScoreOrder(weights),))["scores"]
    assert called["results"][0]["sum"] == 100.0


def test_the_sequence_fills_blocks_and_contradicts_other_genomes(tmp_path: Path, weights: Path) -> None:
    bases = ["N"] * 600
    for position, base in ((100, "A"), (200, "A"), (201, "C"), (301, "T"), (500, "T")):
        bases[position - 1] = base
    fasta = tmp_path / "ref.fa"
    fasta.write_text(">1\n" + "".join(bases) + "\n")
    pysam.faidx(str(fasta))
    block = "1 99 . N <NON_REF> . . END=510 GT:GQ 0/0:50"
    good = vcf(tmp_path / "good.vcf", [block], header=GVCF_HEADER)
    other = vcf(tmp_path / "other.vcf", ["1 200 . C G 50 PASS . GT 0/1"])

    with_it = read(good, scores=(ScoreOrder(weights),), sequences={"GRCh37": fasta})["scores"][0]["results"][0]
    without = read(good, scores=(ScoreOrder(weights),))["scores"][0]["results"][0]

    assert (with_it["sum"], with_it["used"]) == (2.0, 5)
    assert (without["sum"], without["why_not"]) == (None, {"base unknown": 5})
    refused = refusal(other, sequences={"GRCh37": fasta})
    assert refused.reason == "genome-reference-mismatch"
    assert "mismatch at 1:200: the sequence has A, the file C" in str(refused)
    (tmp_path / "ref.fa.fai").unlink()
    assert "samtools faidx" in refusal(good, sequences={"GRCh37": fasta}).remedy


# Broken files


@pytest.mark.parametrize(
    ("records", "reason", "words"),
    [
        pytest.param(["1 abc . A G . . . GT 0/1"], "genome-malformed", "line 5: POS 'abc' is not an integer", id="POS"),
        pytest.param(["1 5 . A G . . . GT 0/3"], "genome-malformed", "GT 0/3 names allele 3", id="GT"),
        pytest.param(["1 5 . A G"], "genome-malformed", "line 5: 5 columns where the header has 10", id="columns"),
    ],
)
def test_a_broken_record_is_refused_with_its_place(
    tmp_path: Path, weights: Path, records: list[str], reason: str, words: str
) -> None:
    scores = (ScoreOrder(score(tmp_path / "at5.txt", [row(5, "G", "A", 1.0)])),)

    refused = refusal(vcf(tmp_path / "broken.vcf", records), scores=scores)

    assert refused.reason == reason
    assert words in str(refused)


def test_broken_heads_and_compressions(tmp_path: Path) -> None:
    lines = vcf(tmp_path / "w.vcf", [f"1 {at} . A G . . . GT 0/1" for at in range(1, 9000)]).read_bytes()
    whole = gzip.compress(lines)
    cases = {
        "empty.vcf": b"",
        "text.vcf": b"hello\n",
        "gzip.vcf.gz": whole,
        "cut.vcf.gz": whole[: len(whole) // 2],
        "head.vcf": b"##fileformat=VCFv4.2\n#CHROM\tPOS\n",
        "nothing.vcf": b"##fileformat=VCFv4.2\n",
        "twice.vcf": b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\tS1\n",
        "noise.bcf": b"BCF\x02\x02" + random.Random(3).randbytes(900),
        "noise.vcf.gz": b"\x1f\x8b" + random.Random(4).randbytes(900),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        assert refusal(tmp_path / name, declared="GRCh37").reason.startswith("genome-"), name


@real_data
@real_data
@pytest.mark.parametrize("file", sorted((GENOMICS / "cyvcf2_odd").glob("*.[vb]cf*")), ids=lambda file: file.name)
def test_odd_files_of_others_are_read_or_refused_by_name(file: Path) -> None:
    try:
        answer = read(file, "sample1", "samplea", "sample_1", "SSC00089", "NA00001", "Tumor", "foo1", "15G15594")
    except GenomeError as refused:
        assert file.name in str(refused)
        assert refused.reason in ("genome-malformed", "genome-empty", "genome-build-unknown")
    else:
        assert answer["samples"] == [] or answer["build"]["build"] in ("GRCh37", "GRCh38")


FUZZ = """
import json, random, sys
from pathlib import Path
from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.order import Order, ScoreOrder
from dicom_node.sidecars.genomics import reading
seed, weights, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
whole, rng, told, file = seed.read_bytes(), random.Random(7), {"read": 0, "refused": 0}, seed.with_name("mutated.vcf")
for _ in range(rounds):
    broken = bytearray(whole)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(broken))
        kind = rng.randrange(4)
        if kind == 0:
            broken[at] = rng.randrange(256)
        elif kind == 1:
            del broken[at : at + rng.randint(1, 40)]
        elif kind == 2:
            broken[at:at] = bytes(rng.choices(b"\\t\\n,;:|/.<>*0129ACGT-=", k=rng.randint(1, 9)))
        else:
            broken[at:at] = broken[at : at + rng.randint(1, 60)]
    file.write_bytes(broken)
    try:
        reading.read(Order(file, ("S1",), scores=(ScoreOrder(weights),)))
        told["read"] += 1
    except GenomeError as error:
        assert error.reason and "mutated.vcf" in str(error), error
        told["refused"] += 1
print(json.dumps(told))
"""


def test_mutated_files_are_read_or_refused_and_nothing_else(tmp_path: Path, weights: Path) -> None:
    seed = vcf(tmp_path / "seed.vcf", GVCF, header=GVCF_HEADER)

    ran = subprocess.run(
        [sys.executable, "-c", FUZZ, str(seed), str(weights), "1500"],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )

    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["read"] > 100
    assert told["refused"] > 100


# The process


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Path]:
    """A file that is never read to its end."""
    pipe = tmp_path / "stuck.vcf"
    os.mkfifo(pipe)
    yield pipe


def test_a_crash_ends_the_reader_alone_and_is_told_by_the_name_of_the_file(stuck: Path) -> None:
    raised: list[GenomeError] = []

    def reads() -> None:
        try:
            read(stuck)
        except GenomeError as error:
            raised.append(error)

    thread = threading.Thread(target=reads)
    thread.start()
    wait_until(lambda: _readers(), "the reader to start")
    for reader in _readers():
        reader.send_signal(signal.SIGSEGV)
    thread.join(timeout=60)

    (refused,) = raised
    assert refused.reason == "genome-reader-crashed"
    assert "stuck.vcf: the reader crashed on it (SIGSEGV" in str(refused)


def test_a_reader_that_takes_too_long_is_ended(stuck: Path) -> None:
    with pytest.raises(GenomeError, match="more than 3 s") as refused:
        process.read(Order(stuck, ("S1",)), Limits(wall_seconds=3))

    assert refused.value.reason == "genome-too-slow"
    assert not _readers()


def test_a_reader_keeps_to_its_time_of_cpu(tmp_path: Path) -> None:
    long = vcf(tmp_path / "long.vcf", (f"1 {at} . A G . . . GT 0/1" for at in range(1, 400_000)))

    with pytest.raises(GenomeError, match=r"long\.vcf: reading it took more than 1 s of CPU") as refused:
        process.read(Order(long, ("S1",)), Limits(cpu_seconds=1))

    assert refused.value.reason == "genome-too-slow"


def test_a_reader_keeps_to_its_memory(tmp_path: Path) -> None:
    rows = (row(at, "G", "A", 1.0) for at in range(1, 300_000))
    weights = score(tmp_path / "many.txt", rows)
    genome = vcf(tmp_path / "g.vcf", ["1 5 . A G . . . GT 0/1"], tuple(f"S{n}" for n in range(1)))

    with pytest.raises(GenomeError) as refused:
        process.read(Order(genome, ("S0",), scores=(ScoreOrder(weights),)), Limits(memory_mb=90, cpu_seconds=60))

    assert refused.value.reason in ("genome-too-large", "genome-reader-crashed")
    assert "g.vcf" in str(refused.value)


def _readers() -> list[psutil.Process]:
    mine = psutil.Process().children()
    return [child for child in mine if "dicom_node.sidecars.genomics.reader" in " ".join(child.cmdline())]
