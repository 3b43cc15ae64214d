"""Training at several sites at once, none of which gives its images away: a simulation of it on one machine.

Each site is a process that holds its own cases (:mod:`.site`); this one holds the weights, and in each round gives them
to all, and moves them by the mean of the updates that come back. The validation cases of a site judge the weights with
which the round begins, which is what all of them together have learnt.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.contract import ModelContract
from dicom_node.errors import InputError, ModelRaised
from workers.evaluation import privacy, training
from workers.evaluation.site import Site, packed, serve, unpacked

WEIGHTS = "federated.pt"


@dataclass(frozen=True, slots=True)
class Plan:
    """How the sites train together."""

    rounds: int
    epochs: int = 1  # of each site in each round
    seed: int | None = None
    anew: bool = False
    privacy: privacy.Privacy | None = None


def train(
    contract: ModelContract,
    folders: Sequence[Path],
    out: Path,
    plan: Plan,
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Prepare each site's cases in ``out``, train, and write ``federated.pt``, weights of one network, there.

    Returns:
        ``rounds`` (``metrics``: site → name → value, of the weights with which the round began), ``sites`` (name →
        cases in training), ``epsilon`` and ``delta`` (None without privacy), ``weights`` (file).

    Raises:
        ContractError: the bundle has no training configuration.
        InputError: there is one site only, or one has too few cases.
        ModelRaised: the training of a site ended; its own lines say why.
    """
    if len(folders) < 2:
        raise InputError("a federated training needs two sites", reason="one-site", remedy="name another --site FOLDER")
    training.check(contract)
    sites = [_site(contract, folder, out / f"site{n}", plan, told) for n, folder in enumerate(folders, start=1)]
    shares = [len(json.loads(site.split.read_text(encoding="utf-8"))["training"]) for site in sites]
    with ExitStack() as stack:
        connections = [stack.enter_context(_started(site, stack)) for site in sites]
        first, *_ = [unpacked(_answer(contract, connection)) for connection in connections]
        weights, rounds = first, []
        for number in range(1, plan.rounds + 1):
            content = packed(weights)
            for connection in connections:
                connection.send_bytes(content)
            metrics, updates = {}, []
            for site, share, connection in zip(sites, shares, connections, strict=True):
                metrics[site.name] = json.loads(_answer(contract, connection))["metrics"]
                updates.append((float(share), unpacked(_answer(contract, connection))))
            weights = privacy.averaged(weights, updates)
            rounds.append({"metrics": metrics})
            told(f"round {number}/{plan.rounds}: {json.dumps(metrics)}")
    file = out / WEIGHTS
    _save(weights, file)
    return {
        "model": contract.name,
        "sites": {site.name: share for site, share in zip(sites, shares, strict=True)},
        "rounds": rounds,
        "epsilon": round(plan.privacy.epsilon(plan.rounds), 3) if plan.privacy else None,
        "delta": plan.privacy.delta if plan.privacy else None,
        "weights": str(file),
    }


def _site(contract: ModelContract, folder: Path, out: Path, plan: Plan, told: Callable[[str], None]) -> Site:
    split = training.prepare(contract, folder, out, plan.seed, told)
    start = contract.folder / contract.weights[0].path if contract.weights and not plan.anew else None
    return Site(
        name=out.name,
        bundle=contract.folder.resolve(),
        data=(out / "data").resolve(),
        split=split.resolve(),
        out=out.resolve(),
        epochs=plan.epochs,
        start_from=start.resolve() if start else None,
        seed=plan.seed,
        privacy=plan.privacy,
    )


def _started(site: Site, stack: ExitStack) -> Connection:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(site, theirs), name=site.name, daemon=True)
    process.start()
    theirs.close()
    stack.callback(process.join, 30)  # after its connection was closed
    return ours


def _answer(contract: ModelContract, connection: Connection) -> bytes:
    try:
        return connection.recv_bytes()
    except EOFError as error:
        raise ModelRaised(
            f"the training of {contract.name} ended at a site", remedy="its own lines above say why"
        ) from error


def _save(weights: privacy.Weights, file: Path) -> None:
    import torch

    torch.save({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}, file)
