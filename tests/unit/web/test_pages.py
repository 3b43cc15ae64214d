"""The pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi.testclient import TestClient
from stories import HOSTILE, Writer

from dicom_node.archive.database import Database
from dicom_node.web.pages import measurement_table, stage_bars

MakeClient = Callable[..., TestClient]
VOID = {"meta", "link", "input", "br", "rect", "img"}


class _Reader(HTMLParser):
    """Checks that elements are closed in order, and gathers addresses and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.actions: list[str] = []
        self.attributes: set[str] = set()
        self.elements: set[str] = set()
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag == "script":
            self.scripts.append(dict(attrs).get("src") or "written in the page")
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        self.actions += [value or "" for name, value in attrs if name == "action"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, self.getpos()


def _read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize(
    "address", ["/", *(f"/studies/1.2.826.0.1.{number}" for number in range(1, 9)), "/studies/none"]
)
def test_pages_are_whole_and_load_nothing_from_elsewhere(client: TestClient, address: str) -> None:
    page = _read(client.get(address).text)
    addresses = [found for found in page.addresses + page.actions if found != "#content"]
    assert [found for found in addresses if not re.match(r"/(?!/)", found)] == []
    assert set(page.scripts) <= {"/static/live.js", "/static/slices.js"}
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}


def test_what_the_pages_need_is_there(client: TestClient) -> None:
    for address in _read(client.get("/").text).addresses:
        assert client.get(address).status_code == 200


def test_the_list_is_newest_first_with_where_each_study_stands(client: TestClient) -> None:
    text = client.get("/").text
    patients = re.findall(r">(PAT\d+)</a>", text)
    assert patients == [f"PAT{number:03d}" for number in range(8, 0, -1)]
    assert "results delivered to pacs" in text
    assert "ZeroDivisionError in the model" in text
    assert "unaccounted" in text


@pytest.mark.parametrize("address", ["/", "/studies/1.2.826.0.1.2", f"/?find={HOSTILE}", "/studies/<script>"])
def test_hostile_text_is_shown_and_not_obeyed(client: TestClient, address: str) -> None:
    text = client.get(address).text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_nobody_is_named(client: TestClient) -> None:
    assert "Doe" not in client.get("/").text + client.get("/studies/1.2.826.0.1.1").text


def test_find(client: TestClient) -> None:
    assert re.findall(r">(PAT\d+)</a>", client.get("/?find=ACC003").text) == ["PAT003"]
    assert re.findall(r">(PAT\d+)</a>", client.get("/?find=%20PAT003%20").text) == ["PAT003"]
    assert "No study has the patient ID" in client.get("/?find=nobody").text


def test_an_empty_node_says_what_to_do(client_of: Any, empty: Database) -> None:
    assert "Send one to DICOMNODE, port 11112" in client_of(empty).get("/").text


def test_pages_of_studies(client_of: Any, empty: Database) -> None:
    with empty.write() as connection:
        for number in range(1, 61):
            Writer(connection).study(number)
    client = client_of(empty)
    pages = [re.findall(r">(PAT\d+)</a>", client.get(f"/?page={page}").text) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [25, 25, 10, 0]
    assert sorted(patient for page in pages for patient in page) == [f"PAT{number:03d}" for number in range(1, 61)]
    assert "page 2 of 3, 60 studies" in client.get("/?page=2").text
    assert client.get("/?page=0").status_code == 422


def test_a_study_tells_how_its_results_came_to_be(client: TestClient) -> None:
    text = client.get("/studies/1.2.826.0.1.1").text
    for told in (
        "Pulmonary emphysema: not evaluated.",
        "Slice Thickness is 5 mm",
        "30 slices without a gap, quiet for 30 s",
        "series 2 is the only match",
        "2871",
        "rgb(224,97,76)",
        "results/1/seg.dcm",
        "not a cleared medical device",
        "results: seg, sr",
    ):
        assert told in text


@pytest.mark.parametrize(
    ("study", "refreshed"), [("1.2.826.0.1.1", False), ("1.2.826.0.1.4", True), ("1.2.826.0.1.8", False)]
)
def test_a_page_is_loaded_again_while_something_is_going_on(client: TestClient, study: str, refreshed: bool) -> None:
    assert ('http-equiv="refresh"' in client.get(f"/studies/{study}").text) == refreshed


def test_a_study_that_is_not_there(client: TestClient) -> None:
    answer = client.get("/studies/1.2.3")
    assert answer.status_code == 404
    assert "There is no study" in answer.text
    assert client.get("/studies/PAT001").status_code == 404


def test_measurements_become_a_table() -> None:
    def measured(of: list[str], meaning: str, value: float) -> dict[str, Any]:
        return {"of": of, "meaning": meaning, "unit": "x", "unit_shown": "X", "value": value}

    table = measurement_table(
        [measured(["a"], "volume", 1), measured(["a", "b"], "volume", 3), measured(["a"], "density", -5)]
    )
    assert table["columns"] == [{"meaning": "volume", "unit": "X"}, {"meaning": "density", "unit": "X"}]
    values = [(row["of"], [cell and cell["value"] for cell in row["cells"]]) for row in table["rows"]]
    assert values == [("a", [1, -5]), ("a and b", [3, None])]


def test_stages_lie_one_after_the_other() -> None:
    names = ("reception", "completion and rules", "queue", "worker", "worker: infer", "delivery: a", "delivery: b")
    lasts = (1.0, 4.0, 1.0, 2.0, 1.5, 1.0, 2.0)
    bars = stage_bars([{"stage": name, "seconds": last} for name, last in zip(names, lasts, strict=True)])
    assert [(bar["start"], bar["width"]) for bar in bars] == [
        (0, 10),
        (10, 40),
        (50, 10),
        (60, 20),
        (60, 15),
        (80, 10),
        (80, 20),
    ]


def test_stages_that_took_no_time_have_no_width() -> None:
    (bar,) = stage_bars([{"stage": "reception", "seconds": 0.0}])
    assert (bar["start"], bar["width"]) == (0, 0)
    assert stage_bars([{"stage": "reception", "seconds": None}])[0]["width"] == 0


def test_why_and_why_not_stand_on_a_page_of_their_own(client_of: MakeClient, database: Database) -> None:
    condition = {
        "list": "all",
        "condition": "Modality == 'CT'",
        "outcome": "false",
        "values": {"Modality": "<i>MR</i>"},
    }
    series = {"series_number": 2, "series_description": "T1", "instances": 4, "verdict": "no match", "reason": "not CT"}
    rule = {"rule": "lungs", "model": "ct_lung_density", "model_version": "1", "matched": False, "reason": "no series"}
    told = [{**rule, "after": None, "series": [{**series, "conditions": [condition]}], "further": []}]
    asked: list[int] = []
    client = client_of(database, explain=lambda study_id: asked.append(study_id) or told)
    text = client.get("/studies/1.2.826.0.1.2/why").text
    assert asked == [2]
    for words in ("lungs", "does not match", "no series", "no match", "not CT", "Modality = &lt;i&gt;MR&lt;/i&gt;"):
        assert words in text
    assert client.get("/studies/1.2.9/why").status_code == 404
    assert client_of(database).get("/studies/1.2.826.0.1.2/why").status_code == 404
