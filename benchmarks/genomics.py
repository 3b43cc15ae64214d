"""Genomes: an exome read and scored, a score over a million variants, beside PLINK, bcftools and pgscatalog-utils.

``DICOM_NODE_PGSCATALOG`` names the programs' folder of an environment with ``pgscatalog-utils``; it pins old versions
of numpy and polars, so it has one of its own. Peers that are not there leave their column empty.
"""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genomes import exome, row, score

from benchmarks.table import Row, report, version_of
from dicom_node.sidecars.genomics import process
from dicom_node.sidecars.genomics.order import Limits, Order, ScoreOrder

EXOME_RECORDS = 100_000
EXOME_S, EXOME_MB = 10.0, 300.0
VARIANTS = 1_000_000
DATA = os.environ.get("DICOM_NODE_TEST_DATA")


@dataclass(frozen=True, slots=True)
class Used:
    """What a program took."""

    seconds: float
    cpu_seconds: float
    megabytes: float  # at most, resident


def main() -> int:
    """Make the files, read them in turn with us and the others, print the table."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        rows, notes = [*_exome(folder), *_million(folder)], []
        if DATA:
            rows += _cohort(folder, Path(DATA) / "genomics" / "cineca_pgs001229")
        else:
            notes.append("DICOM_NODE_TEST_DATA names no data: the cohort was left out")
    versions = {name: version_of(*command) for name, command in _peers().items()}
    return report("genomics", rows, versions, notes=notes)


def _exome(folder: Path) -> list[Row]:
    file = exome(folder / "exome.vcf", EXOME_RECORDS)
    weights = _weights(folder / "weights.txt", file, 20_000)
    ours, theirs = _ours(Order(file, ("S1",), scores=(ScoreOrder(weights),))), _plink(file, weights, folder)
    counting = _timed(["bcftools", "stats", str(file)])
    what, beside = f"exome of {EXOME_RECORDS:,} records, read and scored", "bcftools stats"
    return [
        Row(what, "s", ours.seconds, theirs and theirs.seconds, "plink2", goal=EXOME_S),
        Row("the same, CPU", "s", ours.cpu_seconds, theirs and theirs.cpu_seconds, "plink2"),
        Row("the same, memory", "MB", ours.megabytes, theirs and theirs.megabytes, "plink2", goal=EXOME_MB),
        Row("the same, CPU, beside counting it", "s", ours.cpu_seconds, counting and counting.cpu_seconds, beside),
    ]


def _million(folder: Path) -> list[Row]:
    """A score over a million variants in a genome that has them all; and the same score in a genome twice as long."""
    file = exome(folder / "genome.vcf", VARIANTS, seed=2)
    weights = _weights(folder / "million.txt", file, VARIANTS)
    ours, theirs = _ours(Order(file, ("S1",), scores=(ScoreOrder(weights),))), _plink(file, weights, folder)
    longer = exome(folder / "longer.vcf", 2 * VARIANTS, seed=3)
    twice = _ours(Order(longer, ("S1",), scores=(ScoreOrder(weights),)))
    most = 1.1 * ours.megabytes
    return [
        Row(f"score over {VARIANTS:,} variants", "s", ours.seconds, theirs and theirs.seconds, "plink2"),
        Row("the same, CPU", "s", ours.cpu_seconds, theirs and theirs.cpu_seconds, "plink2"),
        Row("the same, memory", "MB", ours.megabytes, theirs and theirs.megabytes, "plink2"),
        Row("memory for a genome twice as long", "MB", twice.megabytes, ours.megabytes, "ours, above", goal=most),
    ]


def _cohort(folder: Path, data: Path) -> list[Row]:
    """How many sums of the CINECA cohort differ, by more than what PLINK prints, after pgscatalog-match chose."""
    cohort, weights = data / "cineca_synthetic_subset.vcf.gz", data / "PGS001229_22.txt"
    theirs = _pgscatalog(cohort, weights, folder)
    people = sorted(theirs)[:300] if theirs else ["HG00096_HG00096"]
    order = Order(cohort, tuple(people), scores=(ScoreOrder(weights, part=True),))
    start = time.perf_counter()
    answer = process.read(order, Limits())
    seconds = time.perf_counter() - start
    results = dict(zip(answer["samples"], answer["scores"][0]["results"], strict=True))
    rows = [Row(f"cohort of 2,504: scores of {len(people)}", "s", seconds)]
    if theirs:
        worst = max(abs(results[name]["sum"] - theirs[name]) / max(1.0, abs(theirs[name])) for name in people)
        rows.append(Row("largest difference of a sum", "", worst, 0.0, "pgscatalog-utils and plink2", goal=1e-5))
    return rows


def _weights(file: Path, genome: Path, number: int) -> Path:
    """A score over substitutions of a genome, as many as there are up to ``number``."""
    rng = random.Random(5)
    rows = []
    with genome.open() as lines:
        for line in lines:
            if not line.startswith("#"):
                name, position, _, ref, alt, *_ = line.split("\t", 5)
                rows.append(row(int(position), alt, ref, rng.gauss(0, 0.01), name))
    rng.shuffle(rows)
    return score(file, rows[:number])


def _ours(order: Order) -> Used:
    """What our reader used: measured from a process of its own, whose only child it is."""
    code = (
        "import json, resource, sys, time\n"
        "from dicom_node.sidecars.genomics import process\n"
        "from dicom_node.sidecars.genomics.order import Limits, Order\n"
        "order = Order.from_json(json.load(sys.stdin)); start = time.perf_counter()\n"
        "answer = process.read(order, Limits()); took = time.perf_counter() - start\n"
        "assert sum(answer['scores'][0]['results'][0]['why_not'].values())\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)\n"
    )
    told = json.dumps(order.as_json())
    ran = subprocess.run([sys.executable, "-c", code], input=told, capture_output=True, text=True, check=True)
    return Used(*map(float, ran.stdout.split()))


def _plink(file: Path, weights: Path, folder: Path) -> Used | None:
    """The same score by PLINK, which takes positions, alleles and weights."""
    listed = folder / "plink.tsv"
    with weights.open() as lines, listed.open("w") as out:
        for line in csv.DictReader((text for text in lines if not text.startswith("#")), delimiter="\t"):
            effect, other = line["effect_allele"], line["other_allele"]
            if len(effect) == len(other) == 1:
                place = f"{line['chr_name']}:{line['chr_position']}:{other}:{effect}"
                out.write(f"{place}\t{effect}\t{line['effect_weight']}\n")
    command = ["plink2", "--vcf", str(file), "--set-all-var-ids", "@:#:$r:$a", "--out", str(folder / "plink")]
    command += ["--score", str(listed), "no-mean-imputation", "cols=+scoresums", "--threads", "2"]
    return _timed([*command, "--rm-dup", "force-first", "--bad-freqs"])


def _timed(command: Sequence[str]) -> Used | None:
    """What a program used; None where it is not installed or refuses."""
    if shutil.which(command[0]) is None:
        return None
    start = time.perf_counter()
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode != 0:
        return None
    return Used(time.perf_counter() - start, used.ru_utime + used.ru_stime, _megabytes(used))


def _megabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)


def _pgscatalog(cohort: Path, weights: Path, folder: Path) -> dict[str, float]:
    """Sums by pgscatalog-combine, pgscatalog-match and PLINK, as pgsc_calc chains them; nothing where they are not."""
    programs = os.environ.get("DICOM_NODE_PGSCATALOG")
    if not programs or shutil.which("plink2") is None:
        return {}
    ids, pgen = "@:#:$r:$a", folder / "target"
    made = ["plink2", "--vcf", str(cohort), "--set-all-var-ids", ids, "--make-pgen", "--out", str(pgen)]
    tools = Path(programs)
    combined, matched = folder / "combined", folder / "matched"
    combined.mkdir()
    matched.mkdir()
    listed = combined / f"normalised_{weights.name}"
    chosen = ["--outdir", str(matched), "--combined", "--min_overlap", "0.75"]
    commands = [
        made,
        [str(tools / "pgscatalog-combine"), "-s", str(weights), "-t", "GRCh37", "-o", str(combined)],
        [str(tools / "pgscatalog-match"), "-d", "cohort", "-s", str(listed), "-t", f"{pgen}.pvar", *chosen],
    ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    (listed,) = matched.glob("*additive*.scorefile.gz")
    scored = ["plink2", "--pfile", str(pgen), "--score", str(listed), "header-read", "no-mean-imputation"]
    subprocess.run([*scored, "cols=+scoresums", "--out", str(folder / "sums")], check=True, capture_output=True)
    with (folder / "sums.sscore").open() as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    column = next(name for name in rows[0] if name.endswith("_SUM") and "DOSAGE" not in name)
    return {line["#IID"]: float(line[column]) for line in rows}


def _peers() -> dict[str, tuple[str, ...]]:
    found = {"plink2": ("plink2", "--version"), "bcftools": ("bcftools", "--version")}
    return {name: command for name, command in found.items() if shutil.which(command[0])}


if __name__ == "__main__":
    sys.exit(main())
