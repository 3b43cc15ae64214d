"""Which genome build a file is in: the ladder. Each rung decides, or leaves it to the next; the last one refuses.

1. the lengths, checksums and accessions of its contigs;
2. what its header says of the reference (``##reference``, ``assembly=``);
3. known positions: the variants of polygenic scores, whose places in both builds are known;
4. the reference sequence itself, where the site has one of each build: REF must be what stands there.

Evidence that disagrees is refused, never weighed. Nothing is lifted over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicom_node.errors import GenomeError
from dicom_node.sidecars.genomics.assembly import (
    CHECKSUMS,
    FOREIGN_LENGTHS,
    LENGTHS,
    Build,
    build_of_name,
    build_of_text,
    chromosome,
)

LEAST_MATCHES = 20  # known positions that must fit
LEAST_SHARE = 0.1  # of the known positions on the file's chromosomes
MOST_OF_OTHER = 0.05  # of the matches, that may fit the other build by chance

_REMEDY = "have it made anew with ##contig lines that give lengths, or name the build: --build GRCh37 or GRCh38"


@dataclass(frozen=True, slots=True)
class Contig:
    """A ``##contig`` line."""

    name: str
    length: int | None = None  # bases
    md5: str = ""
    assembly: str = ""


@dataclass(frozen=True, slots=True)
class Matches:
    """How many known variants of one build a file has, by position and alleles."""

    known: int  # on the chromosomes the file speaks of
    found: int


@dataclass(frozen=True, slots=True)
class Established:
    """A build, and why."""

    build: Build
    rung: str  # contigs, header, known positions, reference sequence, declared
    evidence: str  # a sentence
    notes: tuple[str, ...] = ()  # what does not fit, without contradicting

    @property
    def inferred(self) -> bool:
        """Whether it was concluded from positions, not told by the file."""
        return self.rung in ("known positions", "reference sequence")


def from_contigs(contigs: Sequence[Contig]) -> tuple[Established | None, tuple[str, ...]]:
    """The first rung: the build that contigs tell, and what is odd about them.

    Raises:
        GenomeError: contigs of several builds, or of one that is not read.
    """
    told: dict[Build, list[str]] = {}
    odd: list[str] = []
    for contig in contigs:
        name = chromosome(contig.name)
        if name is None or name == "MT":
            continue
        for build, why in _signs(contig, name):
            told.setdefault(build, []).append(why)
        if contig.length and not any(lengths.get(name) == contig.length for lengths in LENGTHS.values()):
            _refuse_foreign(contig, name)
            odd.append(f"chr{name} length {contig.length} matches neither GRCh37 nor GRCh38")
    if len(told) > 1:
        both = "; ".join(f"{reasons[0]} is {build}" for build, reasons in sorted(told.items()))
        raise GenomeError(f"its contigs are of several builds: {both}", reason="genome-build-mixed", remedy=_REMEDY)
    if not told:
        return None, tuple(odd)
    build, reasons = next(iter(told.items()))
    if odd:
        raise GenomeError(
            f"its contigs do not fit together: {reasons[0]} is {build}, but {odd[0]}",
            reason="genome-build-mixed",
            remedy=_REMEDY,
        )
    more = f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return Established(build, "contigs", f"{reasons[0]}{more}"), ()


def from_header(contigs: Sequence[Contig], references: Sequence[str]) -> Established | None:
    """The second rung: what the header calls its reference.

    Raises:
        GenomeError: it calls it by two builds.
    """
    texts = [*references, *(contig.assembly for contig in contigs)]
    told = {build: text for text in texts if text for build in build_of_text(text)}
    if len(told) > 1:
        both = " and ".join(f"{text!r}" for text in told.values())
        raise GenomeError(f"its header names two builds: {both}", reason="genome-build-mixed", remedy=_REMEDY)
    return next((Established(build, "header", f"the header names {text!r}") for build, text in told.items()), None)


def from_positions(matches: Mapping[Build, Matches]) -> Established | None:
    """The third rung: known variants are where one build has them, and not where the other has them."""
    fitting = [
        build
        for build, match in matches.items()
        if match.found >= LEAST_MATCHES and match.found >= LEAST_SHARE * match.known
    ]
    if len(fitting) != 1:
        return None
    best = matches[fitting[0]]
    others = {build: match for build, match in matches.items() if build is not fitting[0]}
    if any(other.found > MOST_OF_OTHER * best.found for other in others.values()):
        return None
    beside = "".join(f", {other.found} match {build}" for build, other in others.items())
    told = f"{best.found}/{best.known} known variants match {fitting[0]}{beside}"
    return Established(fitting[0], "known positions", f"{told}: using {fitting[0]} (inferred)")


def from_reference(agreements: Mapping[Build, Matches]) -> Established | None:
    """The fourth rung: every REF compared is what stands in one build's sequence, and not in the other's."""
    if len(agreements) < 2:
        return None
    whole = [build for build, match in agreements.items() if match.found == match.known >= LEAST_MATCHES]
    if len(whole) != 1:
        return None
    build = whole[0]
    others = [match for other, match in agreements.items() if other is not build]
    if any(match.found > 0.8 * match.known for match in others):
        return None
    told = f"{agreements[build].found} of {agreements[build].known} reference alleles stand in the sequence of {build}"
    return Established(build, "reference sequence", f"{told}, fewer in the other: using {build} (inferred)")


def establish(
    contigs: Sequence[Contig],
    references: Sequence[str],
    positions: Mapping[Build, Matches],
    sequences: Mapping[Build, Matches],
    declared: Build | None = None,
) -> Established:
    """Climb the ladder.

    ``declared`` is what a person says; it stands where the file says nothing, and is refused where the file says
    otherwise.

    Raises:
        GenomeError: ``genome-build-unknown``, ``-mixed``, ``-foreign`` or ``-contradicts``.
    """
    by_contigs, notes = from_contigs(contigs)
    found = [by_contigs, from_header(contigs, references), from_positions(positions), from_reference(sequences)]
    told = [step for step in found if step]
    if declared:
        told.append(Established(declared, "declared", f"{declared} is declared for this file"))
    if not told:
        raise GenomeError(_unknown(notes, positions), reason="genome-build-unknown", remedy=_REMEDY)
    contrary = next((step for step in told if step.build is not told[0].build), None)
    if contrary:
        raise GenomeError(
            f"its build is contradictory: {told[0].evidence}, which is {told[0].build}; {contrary.evidence}, which is "
            f"{contrary.build}",
            reason="genome-build-contradicts",
            remedy="find out what it was aligned to; nothing was read",
        )
    return Established(told[0].build, told[0].rung, "; ".join([*notes, told[0].evidence]), notes)


def _signs(contig: Contig, name: str) -> list[tuple[Build, str]]:
    signs = []
    for build, lengths in LENGTHS.items():
        if contig.length == lengths.get(name):
            signs.append((build, f"chr{name} length {contig.length}"))
    if contig.md5.lower() in CHECKSUMS:
        build, of = CHECKSUMS[contig.md5.lower()]
        if of != name:
            raise GenomeError(
                f"its contig {contig.name} has the checksum of chromosome {of}", reason="genome-build-mixed"
            )
        signs.append((build, f"chr{name} md5 {contig.md5}"))
    accession = build_of_name(contig.name)
    if accession:
        signs.append((accession, f"contig {contig.name}"))
    return signs


def _refuse_foreign(contig: Contig, name: str) -> None:
    for foreign, lengths in FOREIGN_LENGTHS.items():
        if lengths.get(name) == contig.length:
            raise GenomeError(
                f"it is in {foreign} (chr{name} length {contig.length}); GRCh37 and GRCh38 are read",
                reason="genome-build-foreign",
                remedy="have it called anew against GRCh38; it is not lifted over",
            )


def _unknown(notes: Sequence[str], positions: Mapping[Build, Matches]) -> str:
    counted = ", ".join(f"{m.found}/{m.known} known variants match {build}" for build, m in positions.items())
    why = "; ".join(filter(None, [*notes, counted])) or "no contig lengths, no reference named, no known positions"
    return f"its genome build cannot be told ({why})"
