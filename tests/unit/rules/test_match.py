from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.catalogue import load_contract
from dicom_node.domain.contract import InputRole
from dicom_node.domain.study import SeriesView, StudyView
from dicom_node.errors import RuleError
from dicom_node.rules.explain import explain, render
from dicom_node.rules.match import Decision, RuleSet
from dicom_node.settings import Configuration, RuleSettings, Settings, Source

MakeSeries = Callable[..., SeriesView]
MakeStudy = Callable[..., StudyView]
MakeRules = Callable[..., RuleSet]

RULE = """
[node]
ae_title = "NODE"
[[rules]]
name = "chest"
model = "lungs"
"""


def decide(rules: RuleSet, study: StudyView) -> Decision:
    return rules.decide(study, rules.rules[0])


def winner(rules: RuleSet, study: StudyView) -> str | None:
    chosen = decide(rules, study).winner
    return chosen.series_instance_uid if chosen else None


@pytest.mark.parametrize(
    ("lines", "place", "message"),
    [
        (
            "all = ['Modality == \"CT\"',\n  'SliceThickness == \"5\"']",
            "dicom-node.toml:8: rules[1].all[2]",
            "compared",
        ),
        ("\n\nany = ['Modalty == \"CT\"']", "dicom-node.toml:9: rules[1].any[1]", "did you mean Modality?"),
        ("none = ['instances >']", "dicom-node.toml:7: rules[1].none[1]", "syntax error at the end"),
        ("prefer = ['smallest ImageType']", "dicom-node.toml:7: rules[1].prefer[1]", "has no order"),
        ("prefer = ['largest Thicknes']", "dicom-node.toml:7: rules[1].prefer[1]", "no DICOM keyword"),
        ("prefer = ['smaller SliceThickness']", "dicom-node.toml:7: rules[1].prefer[1]", "syntax error at column 9"),
    ],
)
def test_errors_name_file_line_and_key(make_rules: MakeRules, lines: str, place: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        make_rules(RULE + lines)
    assert str(caught.value).startswith(place + ": ")
    assert message in str(caught.value)


def test_an_unknown_model_is_refused_with_those_known(make_rules: MakeRules) -> None:
    with pytest.raises(RuleError) as caught:
        make_rules(RULE.replace('"lungs"', '"lung"'))
    assert str(caught.value) == "dicom-node.toml:6: rules[1].model: there is no model 'lung' (known: lungs)"


@pytest.mark.parametrize(
    ("contract", "key"),
    [
        ({"conditions": ('Modality == "CT"', "KVP == 'a'")}, "inputs[1].conditions[2]"),
        ({"prefer": ("smallest Nothing",)}, "inputs[1].prefer[1]"),
        ({"further": (InputRole("b", "CT", 1, ("KVP == 'a'",), ()),)}, "inputs[2].conditions[1]"),
    ],
)
def test_errors_in_a_contract_name_model_toml(make_rules: MakeRules, contract: dict[str, Any], key: str) -> None:
    with pytest.raises(RuleError) as caught:
        make_rules(RULE, **contract)
    assert str(caught.value).startswith(f"models/lungs/model.toml: {key}: ")


@pytest.mark.parametrize(
    ("lines", "attributes", "matched"),
    [
        ("", {}, True),
        ("", {"Modality": "MR"}, False),
        ("", {"Modality": None}, False),
        ("all = ['KVP == 120']", {"KVP": 120.0}, True),
        ("all = ['KVP == 120', 'KVP == 100']", {"KVP": 120.0}, False),
        ("all = ['KVP == 120']", {}, False),
        ("all = ['KVP == 120']", {"varying": ("KVP",)}, False),
        ("any = ['KVP == 120', 'KVP == 100']", {"KVP": 100.0}, True),
        ("any = ['KVP == 120', 'KVP == 100']", {"KVP": 80.0}, False),
        ("any = ['KVP == 120', 'Modality == \"CT\"']", {}, True),
        ("any = ['KVP == 120']", {}, False),
        ("none = ['KVP == 120']", {"KVP": 120.0}, False),
        ("none = ['KVP == 120']", {"KVP": 100.0}, True),
        ("none = ['KVP == 120']", {}, True),
    ],
)
def test_all_any_none(
    make_rules: MakeRules,
    make_series: MakeSeries,
    make_study: MakeStudy,
    lines: str,
    attributes: dict[str, Any],
    matched: bool,
) -> None:
    assert decide(make_rules(RULE + lines), make_study(make_series(**attributes))).matched is matched


@pytest.mark.parametrize(
    ("instances", "frames", "matched"), [(20, None, True), (19, None, False), (1, 40.0, True), (1, 5.0, False)]
)
def test_slices_are_instances_or_frames(
    make_rules: MakeRules,
    make_series: MakeSeries,
    make_study: MakeStudy,
    instances: int,
    frames: float | None,
    matched: bool,
) -> None:
    study = make_study(make_series(instances=instances, NumberOfFrames=frames))
    assert decide(make_rules(RULE, slices=20), study).matched is matched


def test_the_models_own_conditions_hold_too(
    make_rules: MakeRules, make_series: MakeSeries, make_study: MakeStudy
) -> None:
    rules = make_rules(RULE, conditions=("SliceThickness <= 5",))
    decision = decide(rules, make_study(make_series(1, SliceThickness=8.0), make_series(2)))
    assert decision.winner is None
    assert [verdict.reason for verdict in decision.verdicts] == [
        "no match: SliceThickness <= 5 is false (SliceThickness 8)",
        "no match: SliceThickness <= 5 is unknown (SliceThickness absent)",
    ]
    assert decision.reason.startswith("none of 2 series matches; nearest is series 1, no match: SliceThickness <= 5")


@pytest.mark.parametrize(
    ("prefer", "of_model", "won", "reason"),
    [
        ("['smallest SliceThickness']", (), "1.2.2", "lost: SliceThickness 8 > 1 of the winner"),
        ("['largest SliceThickness']", (), "1.2.1", "lost: SliceThickness 1 < 8 of the winner"),
        ("['largest instances']", (), "1.2.3", "lost: instances 30 < 90 of the winner"),
        ("['SliceThickness < 2']", (), "1.2.2", "lost: SliceThickness < 2 false, true for the winner"),
        ("[]", ("smallest SliceThickness",), "1.2.2", "lost: SliceThickness 8 > 1 of the winner"),
        (
            "['largest SliceThickness']",
            ("smallest SliceThickness",),
            "1.2.1",
            "lost: SliceThickness 1 < 8 of the winner",
        ),
        ("['largest StudyDate']", (), "1.2.3", "lost: instances 30 < 90 of the winner"),
        ("[]", (), "1.2.3", "lost: instances 30 < 90 of the winner"),
    ],
)
def test_preference_decides_and_unknown_ranks_last(
    make_rules: MakeRules,
    make_series: MakeSeries,
    make_study: MakeStudy,
    prefer: str,
    of_model: tuple[str, ...],
    won: str,
    reason: str,
) -> None:
    rules = make_rules(f"{RULE}prefer = {prefer}", prefer=of_model)
    study = make_study(
        make_series(1, SliceThickness=8.0), make_series(2, SliceThickness=1.0), make_series(3, instances=90)
    )
    decision = decide(rules, study)
    assert decision.winner is not None
    assert decision.winner.series_instance_uid == won
    assert reason in [verdict.reason for verdict in decision.verdicts]
    assert decision.verdicts[0].reason == "won: best of 3 matches"


def test_the_last_tie_is_broken_by_uid(make_rules: MakeRules, make_series: MakeSeries, make_study: MakeStudy) -> None:
    decision = decide(make_rules(RULE), make_study(make_series(2), make_series(1)))
    assert decision.winner is not None
    assert decision.winner.series_instance_uid == "1.2.1"
    assert decision.verdicts[1].reason.endswith("the winner's Series Instance UID comes first")


def test_a_study_without_series_says_so(make_rules: MakeRules, make_study: MakeStudy) -> None:
    assert decide(make_rules(RULE), make_study()).reason == "the study has no series"


def test_rules_are_found_by_name(make_rules: MakeRules) -> None:
    rules = make_rules(RULE)
    assert rules.rule("chest") is rules.rules[0]
    with pytest.raises(RuleError, match="no rule 'head'"):
        rules.rule("head")


def test_the_shipped_lung_model_prefers_thin_and_smooth_images(make_series: MakeSeries, make_study: MakeStudy) -> None:
    contract = load_contract(Path(__file__).parents[3] / "models" / "ct_lung_density")
    settings = Settings(rules=(RuleSettings(name="chest", model=contract.name),))
    rules = RuleSet.compile(Configuration(settings, Source(None, "")), {contract.name: contract})
    study = make_study(
        make_series(1, SliceThickness=1.0, ConvolutionKernel="B70f"),
        make_series(2, SliceThickness=1.0, ConvolutionKernel="B31f"),
        make_series(3, SliceThickness=1.0),
        make_series(4, instances=3),
    )
    decision = rules.decide(study, rules.rules[0])
    assert [verdict.series.id for verdict in decision.verdicts] == [2, 1, 3, 4]


KEYWORDS = {
    "Modality": st.sampled_from(["CT", "MR", "", None]),
    "SliceThickness": st.sampled_from([1.0, 2.0, 8.0, "bad", None]),
    "KVP": st.sampled_from([100.0, 120.0, None]),
    "varying": st.sampled_from([(), ("KVP",), ("SliceThickness",)]),
    "instances": st.integers(1, 4),
}
SEVERAL = st.lists(st.fixed_dictionaries(KEYWORDS), max_size=6)
CHOOSING = f"""{RULE}
any = ["KVP == 120", "SliceThickness < 4"]
none = ["SliceThickness > 7"]
prefer = ["KVP == 120", "smallest SliceThickness"]
"""


@given(several=SEVERAL, seed=st.integers(0, 1000))
def test_the_order_of_series_never_changes_the_decision(
    make_rules: MakeRules, make_series: MakeSeries, make_study: MakeStudy, several: list[dict[str, Any]], seed: int
) -> None:
    rules = make_rules(CHOOSING)
    series = [make_series(number, **one) for number, one in enumerate(several)]
    shuffled = random.Random(seed).sample(series, len(series))
    first, second = decide(rules, make_study(*series)), decide(rules, make_study(*shuffled))
    assert first.verdicts == second.verdicts
    assert (first.winner, first.reason) == (second.winner, second.reason)


@given(several=SEVERAL, position=st.integers(0, 6), modality=st.sampled_from(["SEG", "SR", "PR", "MR"]))
def test_an_irrelevant_series_never_changes_the_winner(
    make_rules: MakeRules,
    make_series: MakeSeries,
    make_study: MakeStudy,
    several: list[dict[str, Any]],
    position: int,
    modality: str,
) -> None:
    rules = make_rules(CHOOSING)
    series = [make_series(number, **one) for number, one in enumerate(several)]
    before = winner(rules, make_study(*series))
    series.insert(position, make_series(99, instances=500, Modality=modality, KVP=120.0, SliceThickness=0.1))
    assert winner(rules, make_study(*series)) == before


@given(one=st.fixed_dictionaries(KEYWORDS), text=st.sampled_from(["KVP == 120", "SliceThickness < 4", "instances > 2"]))
def test_none_is_the_negation_of_all_unless_unknown(
    make_rules: MakeRules, make_series: MakeSeries, make_study: MakeStudy, one: dict[str, Any], text: str
) -> None:
    study = make_study(make_series(**{**one, "Modality": "CT"}))
    of_all = decide(make_rules(f"{RULE}all = ['{text}']"), study)
    of_none = decide(make_rules(f"{RULE}none = ['{text}']"), study)
    if of_all.verdicts[0].conditions[-1].unknown:
        assert (of_all.matched, of_none.matched) == (False, True)
    else:
        assert of_none.matched is not of_all.matched


FORWARDING = """
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
[[rules]]
name = "on"
send_to = ["pacs"]
all = ['Modality == "CT"']
"""


def test_a_rule_without_a_model_takes_every_series_that_matches(
    make_rules: Callable[..., RuleSet], make_series: Callable[..., SeriesView], make_study: Callable[..., StudyView]
) -> None:
    study = make_study(make_series(1), make_series(2, instances=2), make_series(3, Modality="MR"))
    (decision,) = make_rules(FORWARDING).decide_all(study)
    assert (decision.matched, decision.winner) == (True, None)
    assert [series.id for series in decision.forwarded] == [1, 2]
    assert decision.reason == "series 1, series 2 match"
    (told,) = explain([decision])
    assert (told["model"], told["winner"], told["send_to"]) == (None, None, ["pacs"])
    assert [series["verdict"] for series in told["series"]] == ["sent on", "sent on", "no match"]
    assert render([decision]).startswith("rule 'on': sends on to pacs: series 1, series 2 match")
    (decision,) = make_rules(FORWARDING).decide_all(make_study(make_series(3, Modality="MR")))
    assert (decision.matched, decision.forwarded) == (False, ())
    assert render([decision]).startswith("rule 'on': sends nothing on: none of 1 series matches")


@pytest.mark.parametrize(
    ("more", "key", "told"),
    [
        ('prefer = ["smallest KVP"]', "prefer", "has no meaning in a rule without a model"),
        ("parameters = {a = 1}", "parameters", "has no meaning in a rule without a model"),
        ('forward = "study"', "forward", "once the study is whole"),
        ('model = "lungs"\ntrigger = "arrival"', "trigger", "a model needs"),
        ('model = "lungs"\nsop_classes = ["1.2"]', "sop_classes", "has no meaning in a rule with a model"),
        ("send_to = []", "", "neither model nor send_to"),
    ],
)
def test_keys_that_do_nothing_are_refused(make_rules: Callable[..., RuleSet], more: str, key: str, told: str) -> None:
    text = FORWARDING.replace(
        'send_to = ["pacs"]', more if more.startswith("send_to") else f'send_to = ["pacs"]\n{more}'
    )
    with pytest.raises(RuleError, match=told) as error:
        make_rules(text)
    assert error.value.key == (f"rules[1].{key}" if key else "rules[1]")


FLAIR = InputRole("flair", "MR", 1, ('SeriesDescription == "FLAIR"',), ("smallest SliceThickness",))


def test_a_model_of_two_series_gets_one_for_each_role(
    make_rules: MakeRules, make_series: MakeSeries, make_study: MakeStudy
) -> None:
    rules = make_rules(f"{RULE}all = ['SeriesDescription == \"T1\"']", modality="MR", further=(FLAIR,))
    t1 = make_series(1, Modality="MR", SeriesDescription="T1", FrameOfReferenceUID="1.5")
    thick, thin, moved = (
        make_series(number, Modality="MR", SeriesDescription="FLAIR", SliceThickness=mm, FrameOfReferenceUID=frame)
        for number, mm, frame in ((2, 5.0, "1.5"), (3, 3.0, "1.5"), (4, 1.0, "1.6"))
    )

    decision = decide(rules, make_study(t1, thick, thin, moved))

    assert decision.chosen() == (("image", t1), ("flair", thin))
    (other,) = decision.further
    elsewhere = next(verdict for verdict in other.verdicts if verdict.series is moved)
    assert elsewhere.reason == "no match: it lies in another frame of reference than the first input"


def test_a_model_of_two_series_does_not_run_on_one(
    make_rules: MakeRules, make_series: MakeSeries, make_study: MakeStudy
) -> None:
    rules = make_rules(RULE, modality="MR", further=(FLAIR,))

    decision = decide(rules, make_study(make_series(1, Modality="MR", SeriesDescription="T1")))

    assert (decision.matched, decision.winner, decision.chosen()) == (False, None, ())
    assert decision.reason.startswith("there is no series for flair: the study has no series")
