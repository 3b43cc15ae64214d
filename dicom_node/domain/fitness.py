"""Which worker may run which job: what a job needs, and what a worker has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job needs of its worker."""

    gpu_memory_mb: int = 0  # of a GPU, where it runs on one
    labels: frozenset[str] = frozenset()  # the worker must have them all

    @property
    def any(self) -> bool:
        """Whether it needs anything at all."""
        return bool(self.gpu_memory_mb or self.labels)


NO_NEEDS = Needs()


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a worker has."""

    gpu_memory_mb: int | None = None  # of its GPU; None: it has none, or its memory is not known
    labels: frozenset[str] = frozenset()

    @property
    def queue(self) -> str:
        """Name of the queue that only workers with the same abilities read."""
        return f"{self.gpu_memory_mb or 0}+{'+'.join(sorted(self.labels))}"

    def as_detail(self) -> dict[str, Any]:
        """What the ledger keeps with the worker's process."""
        return {"gpu_memory_mb": self.gpu_memory_mb, "labels": sorted(self.labels)}

    @classmethod
    def from_detail(cls, detail: Mapping[str, Any]) -> Abilities:
        """The other way round; what a process does not tell, it has not."""
        return cls(detail.get("gpu_memory_mb"), frozenset(detail.get("labels", ())))

    def lack(self, needs: Needs) -> str:
        """Why this worker may not run such a job; empty when it may."""
        missing = sorted(needs.labels - self.labels)
        if missing:
            return f"has not the label {missing[0]!r}"
        if self.gpu_memory_mb is not None and self.gpu_memory_mb < needs.gpu_memory_mb:
            return f"has a GPU with {self.gpu_memory_mb} MB, {needs.gpu_memory_mb} MB are needed"
        return ""


NO_ABILITIES = Abilities()


def as_text(labels: Iterable[str]) -> str:
    """Labels as the ledger keeps them: ``<a><b>``, in order."""
    return "".join(f"<{label}>" for label in sorted(labels))


def from_text(text: str) -> frozenset[str]:
    """The other way round."""
    return frozenset(text[1:-1].split("><")) if text else frozenset()
