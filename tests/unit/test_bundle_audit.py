"""What a configuration would run is read, never run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dicom_node.bundle_audit import Audit, audit
from dicom_node.errors import ContractError

SHIPPED = Path(__file__).resolve().parents[2] / "models"


def audited(folder: Path, script: str = "", **configuration: Any) -> Audit:
    (folder / "configs").mkdir()
    (folder / "scripts").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(configuration))
    (folder / "scripts" / "network.py").write_text(script)
    return audit(folder, "configs/inference.json")


def test_everything_that_would_run_is_listed(tmp_path: Path) -> None:
    found = audited(
        tmp_path,
        "import math\nfrom . import layers\n",
        imports=["$import glob"],
        network_def={"_target_": "scripts.network.Net", "channels": "$[2 ** n for n in range(4)]"},
        run=["$@evaluator.run()", "$@a::b#0 if @c else None"],
    )

    assert found.targets == ("scripts.network.Net",)
    assert found.expressions == (
        "$import glob",
        "$[2 ** n for n in range(4)]",
        "$@evaluator.run()",
        "$@a::b#0 if @c else None",
    )
    assert found.imports == ("glob", "math")
    assert found.scripts == ("scripts/network.py",)
    assert found.concerns == ()


@pytest.mark.parametrize("model", sorted(file.parent.name for file in SHIPPED.glob("*/model.toml")))
def test_nothing_stands_out_in_the_models_that_come_with_the_software(model: str) -> None:
    assert audit(SHIPPED / model, "configs/inference.json").concerns == ()


@pytest.mark.data
@pytest.mark.parametrize(
    ("bundle", "name"),
    [
        ("spleen_ct_segmentation", "inference.json"),
        ("wholeBody_ct_segmentation", "inference.json"),
        ("ventricular_short_axis_3label", "inference.json"),
        ("classification_template", "inference.yaml"),
    ],
)
def test_nothing_stands_out_in_configurations_of_the_model_zoo(test_data: Path, bundle: str, name: str) -> None:
    found = audit(test_data / "bundles" / bundle, f"configs/{name}")

    assert found.concerns == ()
    assert "Compose" in found.targets


@pytest.mark.parametrize(
    ("value", "concern"),
    [
        ("$__import__('os').system('id')", "uses __import__"),
        ("$import subprocess", "imports subprocess"),
        ("$import os as o", "imports os under another name"),
        ("$os.system('id')", "uses os.system"),
        ("$eval(@x)", "uses eval"),
        ("$().__class__.__base__.__subclasses__()", "uses __subclasses__"),
        ("$open('/etc/passwd', 'w')", "opens a file with open('/etc/passwd', 'w')"),
        ("$open(@name, @mode)", "opens a file with"),
        ("$getattr(os, 'sys' + 'tem')", "calls getattr(os, 'sys' + 'tem')"),
        ("$torch.load(@path, weights_only=False)", "unpickles with torch.load"),
        ("$np.load(@path, allow_pickle=True)", "unpickles with np.load"),
        ("$torch.hub.load('a/b', 'c')", "uses torch.hub.load"),
        ("$import (", "evaluates what is no Python"),
        ("%/etc/other.json#key", "reads '/etc/other.json#key', outside the bundle"),
        ("%https://example.org/x.json", "outside the bundle"),
        ("%../other/configs/inference.json", "outside the bundle"),
        ({"_target_": "os.system", "command": "id"}, "calls os.system"),
        ({"_target_": "builtins.exec"}, "calls builtins.exec"),
        ({"_target_": "monai.apps.download_url"}, "calls monai.apps.download_url"),
    ],
)
def test_what_would_do_more_than_compute_stands_out_with_its_key(tmp_path: Path, value: Any, concern: str) -> None:
    found = audited(tmp_path, deep={"down": [value]})

    assert any(c.startswith("configs/inference.json: deep.down: ") and concern in c for c in found.concerns)


@pytest.mark.parametrize(
    ("script", "concern"),
    [
        ("import socket", "scripts/network.py:2: imports socket"),
        ("from urllib import request", "scripts/network.py:2: imports urllib.request"),
        ("from os import system", "scripts/network.py:2: imports os.system"),
        ("import os\nos.remove('x')", "scripts/network.py:3: uses os.remove"),
        ("import os\nfree = os\nfree.system('x')", "scripts/network.py:4: uses free.system"),
        ("import importlib", "scripts/network.py:2: imports importlib"),
    ],
)
def test_scripts_are_read_too(tmp_path: Path, script: str, concern: str) -> None:
    assert concern in audited(tmp_path, f"import torch\n{script}\n").concerns


def test_reading_a_file_and_setting_a_switch_is_harmless(tmp_path: Path) -> None:
    found = audited(
        tmp_path,
        a="$open(@file, 'r', encoding='utf8')",
        b="$setattr(torch.backends.cudnn, 'benchmark', True)",
        c="$torch.load(@path, weights_only=True)",
    )

    assert found.concerns == ()


@pytest.mark.parametrize(("name", "text"), [("configs/inference.json", "{"), ("scripts/network.py", "def (")])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, text: str) -> None:
    audited(tmp_path)
    (tmp_path / name).write_text(text)

    with pytest.raises(ContractError, match=name):
        audit(tmp_path, "configs/inference.json")
