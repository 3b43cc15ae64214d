"""A rule wants a study whose series pass its own conditions, whatever its model asks besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dicom_node.domain.contract import InputRole
from dicom_node.domain.study import SeriesView, StudyView
from dicom_node.rules.match import RuleSet
from dicom_node.rules.wish import wanted

RULE = '[[rules]]\nname = "chest"\nmodel = "lungs"\nall = [\'BodyPartExamined == "CHEST"\']\n'
SENDS = '[[rules]]\nname = "on"\nsend_to = ["pacs"]\n[[peers]]\nname = "pacs"\nae_title = "P"\nhost = "h"\nport = 1\n'
Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("attributes", "is_wanted"),
    [
        ({"BodyPartExamined": "CHEST"}, True),
        ({"BodyPartExamined": "CHEST", "instances": 3}, True),  # too few for the model
        ({"BodyPartExamined": "CHEST", "SliceThickness": 8.0}, True),  # too thick for the model
        ({"BodyPartExamined": "HEAD"}, False),
        ({"BodyPartExamined": None}, False),
        ({"BodyPartExamined": "CHEST", "Modality": "MR"}, False),  # no rule for CT means it
    ],
)
def test_what_the_rule_itself_asks_decides(
    make_rules: Make, make_study: Make, make_series: Make, attributes: dict[str, Any], *, is_wanted: bool
) -> None:
    rules: RuleSet = make_rules(RULE, slices=10, conditions=("SliceThickness <= 2.5",))
    series: SeriesView = make_series(**{"SliceThickness": 1.0, **attributes})
    study: StudyView = make_study(make_series(9, Modality="PR", instances=1), series)
    found = wanted(rules.decide(study, rules.rules[0]))
    assert (found is not None) == is_wanted
    assert found is None or found.series == series


def test_a_second_series_that_is_missing_does_not_change_what_the_rule_wants(
    make_rules: Make, make_study: Make, make_series: Make
) -> None:
    rules: RuleSet = make_rules(RULE, further=(InputRole("pet", "PT", 1, (), ()),))
    decision = rules.decide(make_study(make_series(BodyPartExamined="CHEST")), rules.rules[0])
    assert not decision.matched
    assert wanted(decision) is not None


def test_a_rule_without_a_model_awaits_no_result(make_rules: Make, make_study: Make, make_series: Make) -> None:
    rules: RuleSet = make_rules(SENDS)
    assert wanted(rules.decide(make_study(make_series()), rules.rules[0])) is None
