from __future__ import annotations

from collections.abc import Callable

import pytest

from dicom_node.errors import RuleError
from dicom_node.rules.match import RuleSet

MakeRules = Callable[..., RuleSet]

RULES = """
[node]
ae_title = "NODE"
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
[[rules]]
name = "first"
model = "lungs"
[[rules]]
name = "onward"
send_to = ["pacs"]
[[rules]]
name = "second"
model = "lungs"
after = { AFTER }
"""


@pytest.mark.parametrize(
    ("after", "message", "remedy"),
    [
        ('rule = "frist", finding = "emphysema"', "no rule is named 'frist'", "rules that run a model: 'first'"),
        ('rule = "onward", finding = "emphysema"', "rule 'onward' runs no model", "'first'"),
        ('rule = "second", finding = "emphysema"', "'second' would wait for itself", "circle"),
        ('rule = "first", finding = "emphysem"', "lungs has no finding 'emphysem'", "it tells: emphysema"),
    ],
)
def test_a_wrong_prerequisite_is_refused_with_its_place(
    make_rules: MakeRules, after: str, message: str, remedy: str
) -> None:
    with pytest.raises(RuleError) as caught:
        make_rules(RULES.replace("AFTER", after))
    assert message in caught.value.message
    assert remedy in str(caught.value.remedy)
    assert str(caught.value).startswith("dicom-node.toml:18: rules[3].after")


def test_rules_that_wait_for_each_other_are_refused(make_rules: MakeRules) -> None:
    circle = RULES.replace("AFTER", 'rule = "first", finding = "emphysema"').replace(
        'name = "first"', 'name = "first"\nafter = { rule = "second", finding = "emphysema" }'
    )
    with pytest.raises(RuleError, match="would wait for itself"):
        make_rules(circle)


def test_a_prerequisite_of_a_rule_without_a_model_is_refused(make_rules: MakeRules) -> None:
    wrong = RULES.replace("after = { AFTER }", "").replace(
        'send_to = ["pacs"]', 'send_to = ["pacs"]\nafter = { rule = "first", finding = "emphysema" }'
    )
    with pytest.raises(RuleError, match="no meaning in a rule without a model"):
        make_rules(wrong)


def test_a_right_one_is_taken(make_rules: MakeRules) -> None:
    rules = make_rules(RULES.replace("AFTER", 'rule = "first", finding = "emphysema", presence = "absent"'))
    assert rules.rule("second").settings.after is not None
