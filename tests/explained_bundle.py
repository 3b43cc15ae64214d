"""A classifier whose network looks at one block of the image only, so that a map of its answer must lie there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bundles import bundle_scripts
from served_bundles import serve_bundle

# Answers by the mean of a block of the image in RAS, through a convolution whose weights are drawn from a seed.
NETWORK = """
import torch


class Network(torch.nn.Module):
    def __init__(self, learned=True):
        super().__init__()
        torch.manual_seed(3)
        self.body = torch.nn.Conv3d(1, 4, 3, padding=1, bias=False)
        self.head = torch.nn.Linear(4, 2)
        self.learned = learned

    def forward(self, x):
        block = torch.zeros_like(x)
        block[:, :, 2:6, 3:9, 1:5] = 1
        if not self.learned:
            bright = (x * block).mean((1, 2, 3, 4)) * 100
            return torch.stack([torch.zeros_like(bright), bright], 1).sigmoid()
        seen = torch.relu(self.body(x * block))
        return self.head(seen.mean((2, 3, 4)) * 10)
"""

_CLASS = """
[[outputs.classes]]
name = "{name}"
concept = {{ CodeValue = "{name}", CodingSchemeDesignator = "99TEST", CodeMeaning = "{name}" }}
"""
_OUTPUT = """
[[outputs]]
name = "quality"
kind = "classes"
exclusive = true
activation = "softmax"
"""
_EXPLAINED = """
[explanation]
output = "quality"
method = "grad-cam"
layer = "body"

[[weights]]
path = "models/model.pt"
sha256 = "{sha256}"
source = "tests"
"""


def sha256_of_weights(folder: Path) -> str:
    """Write the network's weights into the bundle; their digest."""
    import torch

    network = bundle_scripts(folder, "network").network.Network()
    file = folder / "models" / "model.pt"
    file.parent.mkdir()
    torch.save(network.state_dict(), file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def serve_explained(folder: Path) -> str:
    """A bundle for MR with that network, which asks for a map by Grad-CAM; the name it is served under."""
    name = serve_bundle(folder)
    (folder / "scripts" / "network.py").write_text(NETWORK)
    file = folder / "configs" / "inference.json"
    configuration = json.loads(file.read_text())
    del configuration["postprocessing"]
    file.write_text(json.dumps(configuration))
    contract = (folder / "model.toml").read_text()
    contract = contract.replace('task = "segmentation"', 'task = "classification"')
    head, tail = contract.split("[[segments]]")[0], contract[contract.index("[resources]") :]
    classes = "".join(_CLASS.format(name=each) for each in ("dull", "bright"))
    explained = _EXPLAINED.format(sha256=sha256_of_weights(folder))
    (folder / "model.toml").write_text(head + _OUTPUT + classes + "\n" + tail + explained)
    return name
