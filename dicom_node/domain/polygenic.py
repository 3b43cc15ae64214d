"""A polygenic score beside a risk: ``parameters.polygenic`` of a rule.

    [rules.parameters.polygenic]
    score = "PGS000740"        # of the PGS Catalog; its z in the site's named reference is told beside the risk
    output = "lung_cancer"     # the outcome it belongs to
    fold_in = true             # also the risk with it; never instead of the one without
    per_sd = 1.20              # ratio of odds, or of hazards where the equation is of survival, for one z
    source = "citation of that ratio"

That score and risk are independent of each other is an assumption, and whoever folds a score in is told so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_node.domain.feature import FeatureSpec, WhenMissing
from dicom_node.domain.finding import Code
from dicom_node.errors import ConfigurationError

KEY = "polygenic"
_MOST_Z = 6.0  # beyond it a z says more of the reference than of the person


@dataclass(frozen=True, slots=True)
class Polygenic:
    """Which score stands beside which outcome."""

    score: str
    output: str
    per_sd: float | None  # None: it is not folded in
    source: str

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Polygenic | None:
        """What a rule's parameters say; None: nothing.

        Raises:
            ConfigurationError: they say something else than this.
        """
        told = parameters.get(KEY)
        if told is None:
            return None
        if not isinstance(told, Mapping) or set(told) - {"score", "output", "fold_in", "per_sd", "source"}:
            raise _error("", "takes score, output, fold_in, per_sd and source")
        score, output = str(told.get("score", "")), str(told.get("output", ""))
        if not (score.startswith("PGS") and score[3:].isdigit()):
            raise _error("score", f"{score!r} is no score of the PGS Catalog, such as PGS000740")
        if not output:
            raise _error("output", "names the outcome that the score stands beside")
        if told.get("fold_in", False) is not True:
            return cls(score, output, None, "")
        ratio = told.get("per_sd")
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < math.inf:
            raise _error("per_sd", "is the ratio of odds or hazards for one standard deviation, above 0")
        if not told.get("source"):
            raise _error("source", "names who published that ratio")
        return cls(score, output, float(ratio), str(told["source"]))

    @property
    def spec(self) -> FeatureSpec:
        """The feature that is asked for."""
        return FeatureSpec(
            name=f"{self.score.lower()}_z",
            concept=Code(f"{self.score}-Z", "99DCMNODE", f"{self.score}, standard deviations"),
            unit="1",
            at_least=-_MOST_Z,
            at_most=_MOST_Z,
            missing=WhenMissing.OMIT,
        )


def _error(key: str, message: str) -> ConfigurationError:
    return ConfigurationError(message, key=f"parameters.{KEY}" + (f".{key}" if key else ""))
