"""What holds for every source file, read from the sources themselves."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LONGEST_MODULE = 400  # lines
LONGEST_FUNCTION = 60  # lines, from its ``def`` to its end

# A path of one developer's machine, or the address of a package registry: neither belongs to the project.
FOREIGN = re.compile(
    r"(?<![\w.~:/$}-])/(?:root|work|home/[a-z]\w*|Users/[A-Za-z]\w*|opt/(?:pypi|wheels))(?:/|\b)"
    r"|\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|download\.pytorch\.org)\b"
)


def _modules() -> list[Path]:
    folders = ("dicom_node", "workers", "models")
    return [file for folder in folders for file in sorted((CHECKOUT / folder).rglob("*.py"))]


def _name(file: Path) -> str:
    return str(file.relative_to(CHECKOUT))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("file", [file for file in _modules() if "versions" not in file.parts], ids=_name)
def test_a_module_fits_one_head(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    long = {
        function.name: (function.end_lineno or 0) - function.lineno + 1
        for function in _functions(ast.parse(text))
        if (function.end_lineno or 0) - function.lineno + 1 > LONGEST_FUNCTION
    }

    assert len(text.splitlines()) <= LONGEST_MODULE
    assert not long, f"functions of more than {LONGEST_FUNCTION} lines: {long}"


@pytest.mark.parametrize("file", [file for file in _modules() if file.name == "__init__.py"], ids=_name)
def test_a_package_is_its_docstring_alone(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))

    assert ast.get_docstring(tree), "say in the docstring how the data takes its way through the package"
    assert len(tree.body) == 1, "a package's __init__ does nothing else"


@pytest.mark.parametrize("file", _modules(), ids=_name)
def test_a_module_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert file.stem not in {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def test_a_broad_except_is_rare() -> None:
    """``except Exception`` stands at loop tops, which record what they caught; BLE001 is silenced nowhere else."""
    silenced = [
        f"{_name(file)}:{number}"
        for file in _modules()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if "noqa" in line and "BLE001" in line and not re.search(r"#.*noqa.*BLE001.*\s{2}\S", line)
    ]

    assert not silenced, f"say in the same line why everything is caught: {silenced}"


def test_a_unit_test_stands_where_its_source_stands() -> None:
    orphans = []
    for test in sorted((CHECKOUT / "tests" / "unit").rglob("test_*.py")):
        place = test.parent.relative_to(CHECKOUT / "tests" / "unit") / test.stem.removeprefix("test_")
        candidates = [CHECKOUT / root / place for root in ("dicom_node", "", "models")]
        document = CHECKOUT / "docs" / f"{place.name}.md"  # what a test of a document is named after
        if not document.exists() and not any(f.with_suffix(".py").exists() or f.is_dir() for f in candidates):
            orphans.append(_name(test))

    assert not orphans, f"no module is named as these tests are: {orphans}"


def _packages() -> list[Path]:
    roots = [CHECKOUT / "dicom_node", CHECKOUT / "workers"]
    return [file.parent for root in roots for file in sorted(root.glob("*/__init__.py"))]


@pytest.mark.parametrize("package", _packages(), ids=_name)
def test_a_package_has_tests_of_its_name(package: Path) -> None:
    found = [
        test
        for suite in ("unit", "integration", "acceptance")
        for folder in (package.name, f"workers/{package.name}")
        for test in (CHECKOUT / "tests" / suite / folder).rglob("test_*.py")
    ]

    assert found, f"tests/unit/ or tests/integration/ has no test of {_name(package)}"


def test_nothing_of_one_machine_is_in_the_files() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: its files cannot be listed")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        file = CHECKOUT / name
        if file == Path(__file__) or not file.is_file():
            continue
        text = file.read_bytes().decode("utf-8", errors="replace")
        found += [f"{name}: {hit[0]}" for hit in FOREIGN.finditer(text)]

    assert not found


def test_the_licence_of_everything_that_is_shipped_is_named() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    of_models = list((CHECKOUT / "models").glob("*/LICENSE"))
    named = {
        found
        for file in of_models
        for found in re.findall(r"SPDX-License-Identifier: (\S+)", file.read_text(encoding="utf-8"))
    }

    assert set(project["license"].split(" AND ")) == named | {"Apache-2.0"}
    listed = {file for pattern in project["license-files"] for file in CHECKOUT.glob(pattern)}
    assert listed == {CHECKOUT / "LICENSE", *of_models}
