from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from dicom_node.domain.study import SeriesView, StudyView
from dicom_node.rules.explain import explain, render
from dicom_node.rules.match import Decision, RuleSet

RULES = """
[[rules]]
name = "chest"
model = "lungs"
all = ['instances >= 20', '"PRIMARY" in ImageType']
none = ["KVP > 130"]
prefer = ["smallest SliceThickness"]
"""


@pytest.fixture
def decisions(
    make_rules: Callable[..., RuleSet], make_series: Callable[..., SeriesView], make_study: Callable[..., StudyView]
) -> tuple[Decision, ...]:
    kind = ["ORIGINAL", "PRIMARY"]
    study = make_study(
        make_series(1, SliceThickness=8.0, ImageType=kind, KVP=120.0),
        make_series(2, SliceThickness=1.0, ImageType=kind, SeriesDescription="Lung", varying=("KVP",)),
        make_series(3, instances=2),
    )
    return make_rules(RULES).decide_all(study)


def test_every_series_is_explained_with_values(decisions: tuple[Decision, ...]) -> None:
    (told,) = explain(decisions)
    assert json.loads(json.dumps(told)) == told
    assert (told["rule"], told["model"], told["matched"], told["winner"]) == ("chest", "lungs", True, "1.2.2")
    assert told["reason"] == "series 2 is the best of 2 matches; series 1 lost: SliceThickness 8 > 1 of the winner"
    assert [series["verdict"] for series in told["series"]] == ["won", "lost", "no match"]
    assert told["series"][0]["conditions"] == [
        {
            "list": "role",
            "condition": 'Modality == "CT"',
            "outcome": "true",
            "values": {"Modality": "CT"},
            "unknown": [],
        },
        {
            "list": "all",
            "condition": "instances >= 20",
            "outcome": "true",
            "values": {"instances": 30.0},
            "unknown": [],
        },
        {
            "list": "all",
            "condition": '"PRIMARY" in ImageType',
            "outcome": "true",
            "values": {"ImageType": ["ORIGINAL", "PRIMARY"]},
            "unknown": [],
        },
        {
            "list": "none",
            "condition": "KVP > 130",
            "outcome": "unknown",
            "values": {"KVP": "varies"},
            "unknown": ["KVP"],
        },
    ]
    assert told["series"][1]["rank"] == [{"prefer": "smallest SliceThickness", "value": 8.0, "known": True}]


def test_lines_tell_winner_losers_and_values(decisions: tuple[Decision, ...]) -> None:
    assert render(decisions).splitlines() == [
        "rule 'chest': lungs runs: series 2 is the best of 2 matches; "
        "series 1 lost: SliceThickness 8 > 1 of the winner",
        "  series 2 CT Lung [1.2.2] 30 instances: won: best of 2 matches",
        '    yes role    Modality == "CT"  (Modality CT)',
        "    yes all     instances >= 20  (instances 30)",
        '    yes all     "PRIMARY" in ImageType  (ImageType ORIGINAL\\PRIMARY)',
        "    ?   none    KVP > 130  (KVP varies)",
        "        prefer  smallest SliceThickness: 1",
        "  series 1 CT [1.2.1] 30 instances: lost: SliceThickness 8 > 1 of the winner",
        '    yes role    Modality == "CT"  (Modality CT)',
        "    yes all     instances >= 20  (instances 30)",
        '    yes all     "PRIMARY" in ImageType  (ImageType ORIGINAL\\PRIMARY)',
        "    no  none    KVP > 130  (KVP 120)",
        "        prefer  smallest SliceThickness: 8",
        "  series 3 CT [1.2.3] 2 instances: no match: instances >= 20 is false (instances 2); "
        '"PRIMARY" in ImageType is unknown (ImageType absent)',
        '    yes role    Modality == "CT"  (Modality CT)',
        "    no  all     instances >= 20  (instances 2)",
        '    ?   all     "PRIMARY" in ImageType  (ImageType absent)',
        "    ?   none    KVP > 130  (KVP absent)",
    ]


def test_what_cannot_be_shown_is_left_out(
    make_rules: Callable[..., RuleSet], make_series: Callable[..., SeriesView], make_study: Callable[..., StudyView]
) -> None:
    study = make_study(make_series(1, SeriesNumber=float("nan"), SeriesDescription="\ud800"))
    told = explain(make_rules(RULES).decide_all(study))
    assert (told[0]["series"][0]["series_number"], told[0]["series"][0]["series_description"]) == (None, None)
    json.dumps(told, allow_nan=False, ensure_ascii=False).encode()


def test_without_rules_it_says_so() -> None:
    assert explain(()) == []
    assert render(()) == "there are no rules"
