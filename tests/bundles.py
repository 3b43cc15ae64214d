"""Small MONAI bundles with code of their own, their contracts, and a volume to run them on."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from pydicom import Dataset

from dicom_node.domain.contract import InputRole, ModelContract, Resources, SegmentSpec, Status, Weight
from dicom_node.domain.finding import Code
from dicom_node.domain.grid import VoxelGrid
from dicom_node.domain.output import MaskForm, MaskOutput, Output
from workers.inference.volume import Volume


def bundle_scripts(bundle: Path, *modules: str) -> ModuleType:
    """The package ``scripts`` of a bundle with these modules, under a name that no other bundle's can take."""
    name = f"{bundle.name}_scripts"
    folder = bundle / "scripts"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    for module in modules:
        importlib.import_module(f"{name}.{module}")
    return package


# A network that marks what is brighter than 0; ``{body}`` is what else it does, with its features if it takes any.
NETWORK = """
import torch


class Network(torch.nn.Module):
    def forward(self, x, features=None):
        {body}
        return (x > 0).float()
"""
CONFIGURATION = {
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "bundle_root": ".",
    "network_def": {"_target_": "scripts.network.Network"},
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        ],
    },
    "inferer": {"_target_": "SimpleInferer"},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "/nowhere"},
        ],
    },
}


def contract_of(
    folder: Path,
    *,
    memory_mb: int = 2000,
    time_limit_s: float = 60.0,
    segments: int = 1,
    weights: tuple[Weight, ...] = (),
    modality: str = "CT",
    configuration: str = "configs/inference.json",
    outputs: tuple[Output, ...] = (),
) -> ModelContract:
    """A contract for the bundle in ``folder``, with ``segments`` segments numbered from 1."""
    code = Code("85756007", "SCT", "Tissue")
    return ModelContract(
        name=folder.name,
        version="1.0.0",
        title="test bundle",
        manufacturer="tests",
        task="segmentation",
        status=Status.RESEARCH,
        intended_use="tests",
        limits=(),
        folder=folder,
        configuration=configuration,
        digest=f"digest of {folder}",
        inputs=(InputRole("image", modality, 1, (), ()),),
        segments=tuple(
            SegmentSpec(number, f"segment_{number}", f"Segment {number}", code, code, None, (255, 0, 0))
            for number in range(1, segments + 1)
        ),
        measurements=(),
        evaluations=(),
        resources=Resources(time_limit_s, memory_mb),
        weights=weights,
        outputs=outputs or (labels_output(segments),),
    )


def labels_output(segments: int = 1) -> MaskOutput:
    """One label map under ``pred``, as a contract without ``[[outputs]]`` has it."""
    names = tuple(f"segment_{number}" for number in range(1, segments + 1))
    return MaskOutput("segmentation", "pred", MaskForm.LABELS, names)


def write_bundle(folder: Path, body: str = "pass") -> Path:
    """A bundle whose network runs the statements ``body`` on its input ``x`` first."""
    (folder / "configs").mkdir(parents=True)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").touch()
    (folder / "scripts" / "network.py").write_text(NETWORK.format(body=body))
    (folder / "configs" / "inference.json").write_text(json.dumps(CONFIGURATION))
    return folder


def oblique_volume(modality: str = "CT") -> Volume:
    """12 x 20 x 16 voxels on an oblique grid with three different spacings; about half of them are brighter than 0."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.array([2.5, 0.7, 0.9])
    matrix[:3, 3] = (-100.0, 30.0, 55.0)
    shape = (12, 20, 16)
    header = Dataset()
    header.Modality, header.SeriesInstanceUID, header.FrameOfReferenceUID = modality, "1.2.3", "1.2.4"
    array = rng.normal(0, 300, shape).astype(np.float32)
    return Volume(array, VoxelGrid.from_matrix(shape, matrix), ("1.2.3.4",) * 12, (header,) * 12, "HU")
