"""Series, studies and rules to try; factories without state, so that properties may share them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.domain.contract import EvaluationSpec, InputRole, ModelContract, Resources, Status
from dicom_node.domain.finding import Code
from dicom_node.domain.study import Readiness, SeriesView, StudyView
from dicom_node.rules.match import RuleSet
from dicom_node.settings import Configuration, Settings, Source

LUNG = Code("39607008", "SCT", "Lung")


@pytest.fixture(scope="session")
def make_series() -> Callable[..., SeriesView]:
    """A CT series; its UID follows its number."""

    def make(number: int = 1, instances: int = 30, varying: tuple[str, ...] = (), **attributes: Any) -> SeriesView:
        known = {"Modality": "CT", "SeriesNumber": float(number), **attributes}
        return SeriesView(
            id=number,
            series_instance_uid=f"1.2.{number}",
            attributes={name: value for name, value in known.items() if name not in varying and value is not None},
            varying=frozenset(varying),
            instances=instances,
            peer="10.0.0.5",
            called_ae="DICOMNODE",
            calling_ae="PACS",
        )

    return make


@pytest.fixture(scope="session")
def make_study() -> Callable[..., StudyView]:
    """A study of those series."""

    def make(*series: SeriesView) -> StudyView:
        return StudyView(1, 1, "1.2", Readiness.READY, "", series, datetime(2026, 1, 1, tzinfo=UTC))

    return make


@pytest.fixture(scope="session")
def make_rules() -> Callable[..., RuleSet]:
    """Compile the text of a configuration against a model "lungs" that takes the series described."""

    def make(
        text: str,
        *,
        modality: str = "CT",
        slices: int = 1,
        conditions: tuple[str, ...] = (),
        prefer: tuple[str, ...] = (),
        further: tuple[InputRole, ...] = (),
    ) -> RuleSet:
        role = InputRole("image", modality, slices, conditions, prefer)
        source = Source(Path("dicom-node.toml"), text)
        configuration = Configuration(Settings.model_validate(tomllib.loads(text)), source)
        return RuleSet.compile(configuration, {"lungs": _contract((role, *further))})

    return make


def _contract(roles: tuple[InputRole, ...]) -> ModelContract:
    return ModelContract(
        name="lungs",
        version="1",
        title="Lungs",
        manufacturer="test",
        task="segmentation",
        status=Status.RESEARCH,
        intended_use="test",
        limits=(),
        folder=Path("models/lungs"),
        configuration="configs/inference.json",
        digest="0",
        inputs=roles,
        segments=(),
        measurements=(),
        evaluations=(EvaluationSpec("emphysema", LUNG, LUNG, (), "laa_950", 5.0, (), "test"),),
        resources=Resources(60.0, 1000),
    )
