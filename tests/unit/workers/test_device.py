"""Devices and environments of hosts."""

from __future__ import annotations

import pytest

from dicom_node.errors import ConfigurationError
from workers import device


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:11"])
def test_a_device_stays_as_it_is_written(name: str) -> None:
    assert device.settled(name) == name


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no device"):
        device.settled(name)


def test_auto_is_the_cpu_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_GPU_NODES", ("/there/is/none",))
    assert device.settled("auto") == "cpu"
    monkeypatch.setattr(device, "_GPU_NODES", ("/dev/null",))
    assert device.settled("auto") == "auto"


@pytest.mark.parametrize(
    ("name", "already", "visible"),
    [
        ("cpu", "0,1", ""),
        ("auto", None, None),
        ("auto", "3", "3"),
        ("cuda", None, "0"),
        ("cuda:1", None, "1"),
        ("cuda:1", "4,GPU-5", "GPU-5"),
    ],
)
def test_a_host_sees_its_own_gpu_only(name: str, already: str | None, visible: str | None) -> None:
    inherited = {} if already is None else {"CUDA_VISIBLE_DEVICES": already}

    assert device.environment(name, "/scratch", inherited).get("CUDA_VISIBLE_DEVICES") == visible


def test_a_gpu_that_is_hidden_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="there is no cuda:1"):
        device.environment("cuda:1", "/scratch", {"CUDA_VISIBLE_DEVICES": "0"})


def test_secrets_stay_with_the_worker() -> None:
    inherited = {"PATH": "/bin", "LC_ALL": "C.UTF-8", "DICOM_NODE__DATABASE__URL": "secret", "AWS_SECRET": "secret"}

    chosen = device.environment("cpu", "/scratch", inherited)

    assert chosen["PATH"] == "/bin"
    assert chosen["LC_ALL"] == "C.UTF-8"
    assert chosen["HOME"] == "/scratch"
    assert "secret" not in chosen.values()
