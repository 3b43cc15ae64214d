"""Bundles in real host processes: what they yield, and what becomes of those that misbehave."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node import sandbox
from dicom_node.domain.feature import FeatureSpec
from dicom_node.domain.finding import Code
from dicom_node.errors import (
    DicomNodeError,
    Fenced,
    InputError,
    ModelCrashed,
    ModelOutOfMemory,
    ModelRaised,
    ModelTimeout,
)
from workers.inference.pool import HostPool
from workers.inference.volume import Volume


@pytest.fixture
def pool() -> Iterator[HostPool]:
    with HostPool("cpu") as pool:
        yield pool


def host_id(pool: HostPool) -> int:
    (host,) = pool._hosts.values()
    return host._process.pid


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_label_map_returns_on_the_input_grid_from_a_warm_host_or_a_new_one(
    make_bundle, pool: HostPool, volume: Volume
) -> None:
    contract = make_bundle("threshold", "print('seen', tuple(x.shape))")
    steps: list[str] = []

    cold = pool.run(contract, {"image": volume}, progress=steps.append)
    first = host_id(pool)
    warm = pool.run(contract, {"image": volume})

    assert cold.label_map.dtype == np.uint8
    assert np.array_equal(cold.label_map, volume.array > 0)
    assert np.array_equal(warm.label_map, cold.label_map)
    assert steps == ["starting", "loading", "preprocessing", "inference", "postprocessing"]
    assert host_id(pool) == first
    assert cold.timings["start"] > 0
    assert warm.timings["start"] == warm.timings["load"] == 0
    assert warm.timings["total"] > warm.timings["inference"] > 0
    assert set(warm.versions) == {"torch", "monai", "numpy", "device", "sandbox"}

    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while pool._hosts[contract.digest].is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert np.array_equal(pool.run(contract, {"image": volume}).label_map, cold.label_map)
    assert host_id(pool) != first


def test_one_that_raises_is_named_with_its_traceback_and_output(make_bundle, pool: HostPool, volume: Volume) -> None:
    contract = make_bundle("raises", "print('about to divide', flush=True); 1 / 0")

    with pytest.raises(ModelRaised, match="ZeroDivisionError: division by zero") as raised:
        pool.run(contract, {"image": volume})

    assert "scripts/network.py" in raised.value.traceback
    assert "about to divide" in raised.value.output
    again: DicomNodeError = pickle.loads(pickle.dumps(raised.value))  # noqa: S301  as Celery does
    assert again.__dict__ == raised.value.__dict__


def test_one_that_hangs_is_ended_and_the_next_run_has_a_fresh_host(make_bundle, pool: HostPool, volume: Volume) -> None:
    contract = make_bundle("hangs", "import time; x.max() > 5000 and time.sleep(600)", time_limit_s=1.5)
    assert pool.run(contract, {"image": volume}).label_map.any()
    first = host_id(pool)

    with pytest.raises(ModelTimeout, match=r"longer than 1\.5 s"):
        pool.run(contract, {"image": replace(volume, array=volume.array + 9000)})

    assert not is_running(first)
    assert pool.run(contract, {"image": volume}).label_map.any()
    assert host_id(pool) != first


def test_one_that_eats_memory_is_stopped_at_its_limit(make_bundle, pool: HostPool, volume: Volume) -> None:
    body = "self.eaten = [torch.ones(1 << 24) for _ in range(400)]"
    contract = make_bundle("eats", body, memory_mb=1000)

    with pytest.raises(ModelOutOfMemory, match="may have 1000 MB") as raised:
        pool.run(contract, {"image": volume})

    assert "memory_mb" in raised.value.remedy


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("import os; os._exit(7)", "exit status 7"),
        ("import os; print('last words', flush=True); os.kill(os.getpid(), 11)", "SIGSEGV"),
    ],
)
def test_one_that_dies_is_named_by_how(make_bundle, pool: HostPool, volume: Volume, body: str, how: str) -> None:
    contract = make_bundle("dies", body)

    with pytest.raises(ModelCrashed, match=how) as raised:
        pool.run(contract, {"image": volume})

    assert ("last words" in raised.value.output) == ("last words" in body)


def test_a_cancelled_run_commits_nothing_and_ends_its_host(make_bundle, pool: HostPool, volume: Volume) -> None:
    contract = make_bundle("slow", "import time; time.sleep(600)")
    computing = threading.Event()

    with pytest.raises(Fenced) as raised:
        pool.run(
            contract,
            {"image": volume},
            progress=lambda step: computing.set() if step == "inference" else None,
            cancelled=computing.is_set,
        )

    assert raised.value.reason == "cancelled"
    assert not pool._hosts


PROBES = """
import os, socket
assert not [value for value in os.environ.values() if "secret" in value], "it sees the worker's secrets"
with open("scratch", "w") as file:
    file.write("it may write here")
def refused(action):
    try:
        action()
    except PermissionError:
        return True
    return False
"""


def test_a_bundle_finds_the_doors_closed(
    make_bundle, pool: HostPool, volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOM_NODE__DATABASE__URL", "postgresql+psycopg://node:secret@db/node")
    outside, level = tmp_path / "outside", sandbox.level()
    probes = PROBES
    if level.network:
        probes += "assert refused(lambda: socket.create_connection(('127.0.0.1', 9))), 'it reaches the network'\n"
        probes += (
            "assert refused(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)), 'it reaches the network'\n"
        )
    if level.files:
        probes += f"assert refused(lambda: open({str(outside)!r}, 'w')), 'it writes elsewhere'\n"
    contract = make_bundle("probes", probes.replace("\n", "\n        "))

    assert pool.run(contract, {"image": volume}).label_map.any()
    assert level.network or sys.platform != "linux"
    assert not level.files or not outside.exists()


def test_volumes_must_be_those_of_the_roles(make_bundle, pool: HostPool, volume: Volume) -> None:
    with pytest.raises(InputError, match="takes the series image, not t1"):
        pool.run(make_bundle("threshold"), {"t1": volume})


def test_features_of_the_record_reach_the_network_beside_every_window(
    make_bundle, pool: HostPool, volume: Volume
) -> None:
    body = "return (x > features[:, :1, None, None, None]).float() * features[:, 1].max()"
    contract = make_bundle("features", body)
    inference = contract.folder / "configs" / "inference.json"
    configuration = json.loads(inference.read_text())
    configuration["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "sw_batch_size": 3}
    inference.write_text(json.dumps(configuration))
    threshold = FeatureSpec("threshold", Code("1", "99TEST", "Threshold"))
    contract = replace(contract, features=(threshold,))

    found = pool.run(contract, {"image": volume}, features=(150.0, 1.0))
    unknown = pool.run(contract, {"image": volume}, features=(0.0, 0.0))

    assert np.array_equal(found.label_map, volume.array > 150)
    assert not unknown.label_map.any()
    with pytest.raises(InputError, match="takes 2 numbers of its 1 features, not 0"):
        pool.run(contract, {"image": volume})


def test_the_least_recently_used_host_makes_room(make_bundle, volume: Volume) -> None:
    one, two = make_bundle("one"), make_bundle("two")
    with HostPool("cpu", maximum_hosts=1) as pool:
        pool.warm(one)
        first = host_id(pool)
        pool.warm(two)

        assert list(pool._hosts) == [two.digest]
        assert not is_running(first)


WORKER = """
import os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from bundles import contract_of
from workers.inference.pool import HostPool
pool = HostPool("cpu")
pool.warm(contract_of(Path({folder!r})))
(host,) = pool._hosts.values()
assert not {{"torch", "monai"}} & set(sys.modules), "the worker imported them"
print(host._process.pid, flush=True)
sys.stdin.read()
"""


def test_a_host_dies_with_its_worker_which_never_imports_torch(make_bundle) -> None:
    folder = make_bundle("threshold").folder
    code = WORKER.format(path=sys.path, folder=str(folder))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        assert is_running(pid)
        worker.kill()
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_what_needs_too_much_memory_at_once_runs_in_smaller_parts_and_so_from_then_on(
    make_bundle, volume: Volume, tmp_path: Path
) -> None:
    body = "print('windows', x.shape[0], flush=True); hoard = torch.ones(x.shape[0], 175 * 10**6)"  # 700 MB a window
    contract = make_bundle("hungry", body, memory_mb=2000)
    configuration = json.loads((contract.folder / contract.configuration).read_text())
    configuration["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "sw_batch_size": 8}
    (contract.folder / contract.configuration).write_text(json.dumps(configuration))
    steps: list[str] = []

    found = []
    for _ in range(2):  # two workers, one after the other
        with HostPool("cpu", remembered=tmp_path / "rungs.json") as pool:
            found += [pool.run(contract, {"image": volume}, progress=steps.append) for _ in range(2)]

    assert all(np.array_equal(each.label_map, volume.array > 0) for each in found)
    assert {each.versions["memory"] for each in found} == {"2 windows at a time"}
    assert [step for step in steps if "windows" in step] == [
        "inference, 4 windows at a time",
        "inference, 2 windows at a time",
    ]
