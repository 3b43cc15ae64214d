from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from dicom_node import pins
from dicom_node.catalogue import Catalogue, digest_of, load_contract
from dicom_node.domain.contract import Status
from dicom_node.errors import ContractError
from dicom_node.settings import ModelSettings, NodeSettings, Settings

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "ct_lung_density"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the shipped bundle, to be broken."""
    folder = tmp_path / "bundles" / "ct_lung_density"
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def rewrite(bundle: Path, old: str, new: str, name: str = "model.toml") -> None:
    file = bundle / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def settings(*folders: Path) -> Settings:
    return Settings(models=ModelSettings(folders=folders))


def test_the_shipped_model_is_found_without_any_setting() -> None:
    contract = Catalogue.load(Settings()).get("ct_lung_density")

    assert contract.status is Status.RESEARCH
    assert [(s.number, s.type.value, s.type_modifier and s.type_modifier.value) for s in contract.segments] == [
        (1, "39607008", "24028007"),
        (2, "39607008", "7771000"),
    ]
    assert [m.name for m in contract.measurements] == ["volume", "mean_density", "laa_950", "perc15"]
    assert contract.evaluations[0].concept.value == "87433001"
    assert "doi:" in contract.evaluations[0].source
    assert contract.inputs[0].minimum_slices == 20


def test_a_configured_folder_goes_before_the_shipped_one(bundle: Path) -> None:
    rewrite(bundle, 'title = "Lungs on CT', 'title = "Our lungs on CT')

    for folder in (bundle, bundle.parent):
        assert Catalogue.load(settings(folder)).get("ct_lung_density").title.startswith("Our lungs")


def test_a_broken_bundle_is_never_replaced_by_a_shipped_one_of_its_name(bundle: Path) -> None:
    (bundle / "LICENSE").unlink()

    catalogue = Catalogue.load(settings(bundle.parent))

    assert "ct_lung_density" not in catalogue.names()
    assert [problem.folder for problem in catalogue.problems] == [bundle]
    with pytest.raises(ContractError, match="LICENSE is missing"):
        catalogue.get("ct_lung_density")


def test_an_unknown_model_lists_those_there_are_and_where_was_looked(bundle: Path) -> None:
    with pytest.raises(ContractError) as caught:
        Catalogue.load(settings(bundle.parent)).get("spleen")

    assert "'spleen'" in caught.value.message
    assert "known: ct_lung_density" in caught.value.message
    assert str(bundle.parent) in caught.value.message
    assert caught.value.remedy


def test_a_configured_folder_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    problems = Catalogue.load(settings(tmp_path / "nowhere")).problems

    assert "there is no such folder" in problems[0].error.message


def test_a_bundle_without_a_contract_is_a_problem(bundle: Path) -> None:
    (bundle / "model.toml").unlink()

    assert "no contract" in Catalogue.load(settings(bundle.parent)).problems[0].error.message


BRACKETED = """
[[features]]
name = "bmi"
concept = { CodeValue = "39156-5", CodingSchemeDesignator = "LN", CodeMeaning = "Body mass index" }
missing = "bracket"
bracket = [18.0, 40.0]
source = "tests"
"""


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("minimum_slices = 20", 'minimum_slices = "20"', "inputs[1].minimum_slices", "integer"),
        ("minimum_slices = 20", "minimum_slice = 20", "inputs[1]", "required"),
        ('status = "research"', 'status = "proven"', "model.status", "'proven'"),
        ('kind = "laa"', 'kind = "laa"\nunit = "%"', "measurements[3].unit", "no such key"),
        ("labelID = 2", "labelID = 1", "segments[2].labelID", "two segments"),
        ('name = "left_lung"', 'name = "right_lung"', "segments[2].name", "named twice"),
        ('of = [["right_lung"]', 'of = [["middle_lung"]', "measurements[1].of", "'middle_lung'"),
        ('measurement = "laa_950"', 'measurement = "laa_910"', "evaluations[1].measurement", "'laa_910'"),
        ('of = ["right_lung", "left_lung"]', 'of = ["left_lung", "right_lung"]', "evaluations[1].of", "together"),
        ('keyword = "KVP"', 'keyword = "Kvp"', "evaluations[1].protocol", "no DICOM keyword"),
        ("absent = true", "absent = false", "evaluations[1].protocol", "give bounds"),
        ("smallest SliceThickness", "smallest SliceThicknes", "inputs[1].prefer", "'SliceThicknes'"),
        ("minimum_slices = 20", 'minimum_slices = 20\nselect = ["EchoTime"]', "inputs[1].select", "selects nothing"),
        ("minimum_slices = 20", 'minimum_slices = 20\nselect = ["Echo = 1"]', "inputs[1].select", "'Echo'"),
        ("minimum_slices = 20", 'minimum_slices = 20\nvalues = "SUVbw"', "inputs[1].values", "not for CT"),
        ("[resources]", f"{BRACKETED}\n[resources]", "features[1].missing", "answers for one value"),
    ],
)
def test_a_wrong_contract_is_refused_with_file_line_and_key(
    bundle: Path, old: str, new: str, key: str, message: str
) -> None:
    rewrite(bundle, old, new)

    with pytest.raises(ContractError) as caught:
        load_contract(bundle)

    assert caught.value.file == bundle / "model.toml"
    assert (caught.value.key or "").startswith(key)
    assert message in caught.value.message
    assert caught.value.line is not None


def test_a_role_may_select_a_part_of_its_series(bundle: Path) -> None:
    rewrite(bundle, "minimum_slices = 20", 'minimum_slices = 20\nselect = ["smallest EchoTime", "ImageType = M"]')

    first, second = load_contract(bundle).inputs[0].select

    assert (first.keyword, first.order, str(first)) == ("EchoTime", "smallest", "smallest EchoTime")
    assert (second.keyword, second.order, second.value) == ("ImageType", "equal", "M")


def test_the_line_of_a_wrong_value_is_its_own(bundle: Path) -> None:
    rewrite(bundle, "labelID = 2", "labelID = 300")
    line = (bundle / "model.toml").read_text(encoding="utf-8").splitlines().index("labelID = 300") + 1

    with pytest.raises(ContractError) as caught:
        load_contract(bundle)

    assert caught.value.line == line


def test_text_that_is_not_toml_is_refused_with_its_line(bundle: Path) -> None:
    (bundle / "model.toml").write_text('[model]\nname = "x\n', encoding="utf-8")

    with pytest.raises(ContractError, match="not TOML") as caught:
        load_contract(bundle)

    assert caught.value.line == 2


def test_every_fault_of_the_bundle_is_told(bundle: Path) -> None:
    (bundle / "configs/metadata.json").unlink()
    (bundle / "scripts/lungs.py").unlink()

    with pytest.raises(ContractError) as caught:
        load_contract(bundle)

    assert "configs/metadata.json is missing" in caught.value.message
    assert "scripts/lungs.py is missing, which configs/inference.json uses" in caught.value.message


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("configs/metadata.json", '"version": "0.1.0"', '"version": "0.2.0"', "version '0.2.0', not '0.1.0'"),
        ("configs/metadata.json", '"task":', '"tusk":', "'task' is missing"),
        ("configs/inference.json", "{", "[", "not JSON"),
    ],
)
def test_configurations_of_the_bundle_are_read(bundle: Path, name: str, old: str, new: str, message: str) -> None:
    rewrite(bundle, old, new, name)

    with pytest.raises(ContractError) as caught:
        load_contract(bundle)

    assert message in caught.value.message


def test_weights_are_compared_with_their_hash(bundle: Path) -> None:
    (bundle / "models").mkdir()
    weights = bundle / "models" / "model.pt"
    weights.write_bytes(b"weights")
    declared = hashlib.sha256(b"weights").hexdigest()
    with (bundle / "model.toml").open("a", encoding="utf-8") as contract:
        contract.write(f'\n[[weights]]\npath = "models/model.pt"\nsha256 = "{declared}"\nsource = "our training"\n')

    assert load_contract(bundle).weights[0].sha256 == declared

    weights.write_bytes(b"others")
    with pytest.raises(ContractError, match=r"models/model\.pt has SHA-256"):
        load_contract(bundle)
    weights.unlink()
    with pytest.raises(ContractError, match=r"models/model\.pt is missing; it comes from our training"):
        load_contract(bundle)


def test_the_digest_follows_every_file_but_caches(bundle: Path) -> None:
    before = digest_of(bundle)
    cache = bundle / "scripts" / "__pycache__"
    cache.mkdir()
    (cache / "lungs.cpython-311.pyc").write_bytes(b"cache")
    assert digest_of(bundle) == before
    assert load_contract(bundle).digest == before

    (bundle / "scripts/more.py").write_text("", encoding="utf-8")
    added = digest_of(bundle)
    (bundle / "scripts/more.py").rename(bundle / "scripts/other.py")
    assert len({before, added, digest_of(bundle)}) == 3


class TestPins:
    """Of the site's own bundles: what stands out is refused until somebody pins it, and what changed, again."""

    def served(self, bundle: Path, data_dir: Path) -> tuple[list[str], list[str]]:
        own = Settings(models=ModelSettings(folders=(bundle,)), node=NodeSettings(data_dir=data_dir))
        catalogue = Catalogue.load(own)
        return [p.error.reason for p in catalogue.problems], [
            c.digest for c in catalogue.contracts if c.folder == bundle
        ]

    def test_a_bundle_that_only_computes_is_served(self, bundle: Path, tmp_path: Path) -> None:
        assert self.served(bundle, tmp_path) == ([], [digest_of(bundle)])

    def test_another_is_refused_until_it_is_pinned(self, bundle: Path, tmp_path: Path) -> None:
        rewrite(bundle, "import torch\n", "import torch\nimport socket\n", "scripts/lungs.py")
        assert self.served(bundle, tmp_path) == (["not-pinned"], [])

        pins.write(tmp_path, "ct_lung_density", digest_of(bundle))

        assert self.served(bundle, tmp_path) == ([], [digest_of(bundle)])

    def test_a_pinned_one_that_changed_is_refused(self, bundle: Path, tmp_path: Path) -> None:
        pins.write(tmp_path, "ct_lung_density", digest_of(bundle))
        rewrite(bundle, "import torch\n", "import torch  # changed\n", "scripts/lungs.py")

        assert self.served(bundle, tmp_path) == (["digest-changed"], [])
