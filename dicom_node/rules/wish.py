"""Whether a rule wants a study that it gives no series to its model from."""

from __future__ import annotations

from dicom_node.rules.match import ConditionResult, Decision, SeriesVerdict, faults


def wanted(decision: Decision) -> SeriesVerdict | None:
    """The first series, from the nearest on, of the modality of the model that the rule's own conditions hold for.

    What the model asks of it besides may fail. None: the rule does not want the study, or has no model.
    """
    if decision.rule.contract is None:
        return None
    return next((verdict for verdict in decision.verdicts if _is_wanted(verdict)), None)


def _is_wanted(verdict: SeriesVerdict) -> bool:
    asked = [result for result in verdict.conditions if _of_rule(result)]
    # One in another frame of reference was not judged: it is no first input.
    return bool(verdict.conditions) and not faults(asked)


def _of_rule(result: ConditionResult) -> bool:
    return result.list in ("all", "any", "none") or (result.list == "role" and result.text.startswith("Modality "))
