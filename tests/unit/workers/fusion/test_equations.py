"""Equations are data: vectors come out, contributions are exact, and what is broken is refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import ContractError
from workers.fusion.equations import Equations, misses, read

MODELS = Path(__file__).parents[4] / "models"
SIMPLE: dict[str, Any] = {
    "source": "made for tests",
    "variables": {
        "age-60": {"of": "age", "steps": [["minus", 60], ["divide", 10]]},
        "smokes": {"of": "smoking", "equals": "current"},
        "capped": {"of": "age", "steps": [["at_most", 50], ["minus", 50]]},
        "gap": {"sum": {"tc": 1, "hdl": -1}},
    },
    "implied": [{"when": {"smoking": "never"}, "then": {"packs": 0}}],
    "equations": [
        {"output": "risk", "when": {"sex": "male"}, "form": "logistic", "intercept": -1, "terms": [[0.5, ["age-60"]]]},
        {
            "output": "risk",
            "form": "survival",
            "survival": 0.99,
            "intercept": 0,
            "terms": [[0.5, ["age-60", "smokes"]], [0.1, ["gap"]]],
        },
    ],
    "vectors": [
        {"inputs": {"age": 60, "sex": "male"}, "expected": {"risk": 0.26894}, "tolerance": 1e-4, "source": "x"}
    ],
}


def equations(**changes: Any) -> Equations:
    return Equations.model_validate({**SIMPLE, **changes})


def test_the_shipped_ones_give_what_was_published() -> None:
    files = sorted(MODELS.glob("*/configs/equations.json"))
    assert len(files) >= 2
    for file in files:
        assert misses(read(file)) == []


def test_a_wrong_coefficient_is_noticed(tmp_path: Path) -> None:
    for file in MODELS.glob("*/configs/equations.json"):
        told = json.loads(file.read_text())
        told["equations"][0]["intercept"] += 1 if told["equations"][0]["form"] == "points" else 0.01
        wrong = tmp_path / f"{file.parents[1].name}.json"
        wrong.write_text(json.dumps(told))
        with pytest.raises(ContractError, match="the equation gives") as caught:
            read(wrong)
        assert caught.value.reason == "vector"


def test_the_first_equation_that_holds_and_is_known_counts() -> None:
    found = equations()
    assert found.choose("risk", {"age": 60.0, "sex": "male"}) is found.equations[0]
    others = {"age": 60.0, "sex": "female", "smoking": "current", "tc": 5.0, "hdl": 5.0}
    assert found.choose("risk", others) is found.equations[1]
    assert found.choose("risk", {**others, "hdl": None}) is None
    assert found.choose("other", others) is None
    assert found.probability(found.equations[1], others) == pytest.approx(0.01)


def test_one_input_may_say_another() -> None:
    assert equations().completed({"smoking": "never"})["packs"] == 0
    assert equations().completed({"smoking": "never", "packs": 3.0})["packs"] == 3.0
    assert "packs" not in equations().completed({"smoking": "former"})


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"vectors": []},
        {"source": ""},
        {"variables": {"age-60": {"of": "age", "sum": {"a": 1}}}},
        {"equations": [{"output": "r", "form": "logistic", "intercept": 0, "terms": [[1, ["nothing"]]]}]},
        {"equations": [{"output": "r", "form": "survival", "intercept": 0, "terms": []}]},
        {"variables": {"age-60": {"of": "age", "steps": [["eval", 1]]}}},
    ],
)
def test_what_is_broken_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = tmp_path / "equations.json"
    file.write_text(json.dumps({**SIMPLE, **changes}))
    with pytest.raises(ContractError, match=r"equations\.json"):
        read(file)
    with pytest.raises(ContractError):
        read(tmp_path / "nothing.json")


@given(st.floats(20, 90), st.floats(0, 10), st.floats(0, 10), st.sampled_from(["current", "never"]))
def test_contributions_add_up_to_the_risk(age: float, tc: float, hdl: float, smoking: str) -> None:
    found = equations()
    inputs = {"age": age, "tc": tc, "hdl": hdl, "smoking": smoking}
    equation = found.equations[1]
    predictor = equation.intercept + sum(value for _, value in found.contributions(equation, inputs))
    assert found.probability(equation, inputs) == pytest.approx(1 - 0.99 ** math.exp(predictor))


def test_steps_are_taken_in_order() -> None:
    found = equations()
    assert found.variables["age-60"].value({"age": 70.0}) == 1.0
    assert found.variables["capped"].value({"age": 70.0}) == 0.0
    assert found.variables["capped"].value({"age": 40.0}) == -10.0
