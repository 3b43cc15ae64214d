"""The first line of a VCF that is none, in words. Asked when htslib refuses a file without saying where."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FIXED = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
_ALLELE = re.compile(r"[ACGTNRYSWKMBDHVacgtnryswkmbdhv]+")
_QUALITY = re.compile(r"\.|[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(?i:inf|nan)")


def first_fault(lines: Iterable[str]) -> str:
    """What is wrong in the first faulty line, with its number from 1; empty where nothing is found, or it is no VCF."""
    columns = 0
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if number == 1 and not text.startswith("##fileformat=VCF"):
            return "" if not text.startswith("#") else "line 1: it does not start with ##fileformat=VCFv4.…"
        if text.startswith("##") or not text:
            continue
        if text.startswith("#"):
            columns = len(text.split("\t"))
            fault = _header_fault(text.split("\t"))
        elif not columns:
            fault = "a record before the line of column names"
        else:
            fault = _record_fault(text.split("\t"), columns)
        if fault:
            return f"line {number}: {fault}"
    return "" if columns else "it has no line of column names (#CHROM …)"


def _header_fault(cells: list[str]) -> str:
    if tuple(cells[:8]) != _FIXED:
        return f"column names should be {' '.join(_FIXED)}, separated by tabs"
    if len(cells) > 8 and cells[8] != "FORMAT":
        return f"the ninth column is {cells[8]!r}, not FORMAT"
    samples = cells[9:]
    if any(not sample.strip() for sample in samples):
        return "a sample has no name"
    twice = next((sample for sample in samples if samples.count(sample) > 1), None) if len(samples) < 5000 else None
    return f"two samples are named {twice!r}" if twice else ""


def _record_fault(cells: list[str], columns: int) -> str:
    if len(cells) != columns:
        return f"{len(cells)} columns where the header has {columns}"
    if not re.fullmatch(r"-?\d+", cells[1]):
        return f"POS {cells[1]!r} is not an integer"
    if not 0 <= int(cells[1]) < 1 << 31:
        return f"POS {cells[1]} is beyond any chromosome"
    if not _ALLELE.fullmatch(cells[3]):
        return f"REF {cells[3][:20]!r} is no sequence of bases"
    if any(not alt for alt in cells[4].split(",")):
        return "an ALT is empty"
    return "" if _QUALITY.fullmatch(cells[5]) else f"QUAL {cells[5][:20]!r} is not a number"
