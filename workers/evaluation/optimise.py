"""Which options make a model faster here without changing what it says: each is timed and compared, and few are kept.

The plain run comes first: the bundle as it is, on the same cases. Then each option is added to those that were kept
before, if it is faster by a margin that is no noise, also when the best so far is timed again beside it, and every case
agrees with its plain result within the bound. What could not be measured is not used.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.archive.optimised import Choice, Optimised, Options
from dicom_node.domain.contract import ModelContract
from dicom_node.errors import ContractError, InputError, ModelError
from workers.evaluation import cases
from workers.inference.pool import HostPool
from workers.inference.verify import computed_volumes
from workers.inference.volume import Volume

Arrays = Mapping[str, npt.NDArray[Any]]
Volumes = Mapping[str, Volume]

WITHIN = 0.999
FASTER = 1.05  # times: less is noise
MOST_CASES = 5
RUNS = 3  # of each case; the fastest counts
WINDOWS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to compute: ``seconds`` of inference, median of the cases, and what came out of each case."""

    options: Options
    seconds: float
    outputs: tuple[Arrays, ...]
    device: str  # in words
    agreement: float = 1.0  # with the plain result, the least of the cases


def optimise(
    contract: ModelContract,
    folder: Path | None,
    kept: Optimised,
    *,
    within: float = WITHIN,
    device: str = "auto",
    told: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure every option on cases of ``folder`` (as for ``models evaluate``; truth is not needed), and keep the best.

    Without a folder, on the computed volumes of ``models verify``.

    Returns:
        ``model``, ``version``, ``sha256``, ``device``, ``on`` (folder, or empty), and the choice
        (:meth:`Choice.as_json`).

    Raises:
        InputError: there are no cases, or one cannot be used.
        ContractError, ModelError: the plain model does not run.
    """
    bench = _Bench(contract, _volumes(contract, folder), kept, within, device, told)
    bench.measure_all()
    choice = bench.choice()
    kept.put(contract.digest, choice)
    kept.tidy()
    head = {"model": contract.name, "version": contract.version, "sha256": contract.digest}
    return {**head, "device": bench.plain.device, "on": str(folder or ""), **choice.as_json()}


def agreement(plain: Arrays, other: Arrays) -> float:
    """The least agreement of two results of one case, 1 where they are the same.

    Of masks the least Dice of a segment; of probabilities and values 1 - the largest difference, relative where they
    are larger than 1; 0 where their number differs, as of detections.
    """
    least = 1.0
    for name, array in plain.items():
        found = other.get(name)
        if found is None or found.shape != array.shape:
            return 0.0
        if array.dtype == np.uint8:
            least = min([least, *_dice(array, found)])
        elif array.size:
            difference = np.abs(array.astype(np.float64) - found) / np.maximum(1.0, np.abs(array))
            least = min(least, 1.0 - float(difference.max()))
    return max(0.0, least)


def _dice(plain: npt.NDArray[Any], other: npt.NDArray[Any]) -> Iterator[float]:
    for number in np.union1d(np.unique(plain), np.unique(other)):
        if number:
            a, b = plain == number, other == number
            yield 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


def _volumes(contract: ModelContract, folder: Path | None) -> list[Volumes]:
    if folder is None:
        return [computed_volumes(contract)]
    if len(contract.inputs) != 1:
        raise InputError(
            f"{contract.name} takes several series, a folder of cases holds one each",
            reason="task",
            remedy="leave the folder out: it is then measured on computed volumes",
        )
    images = cases.entries(folder / "images")
    if not images:
        raise InputError(f"there are no cases in {folder / 'images'}", reason="no-cases")
    role = contract.inputs[0].name
    chosen = sorted(images.items())[:MOST_CASES]
    return [{role: cases.image_of(cases.Case(name, image, image), contract)} for name, image in chosen]


class _Bench:
    """One model, the cases it is measured on, the plain run and the best so far."""

    def __init__(
        self,
        contract: ModelContract,
        volumes: list[Volumes],
        kept: Optimised,
        within: float,
        device: str,
        told: Callable[[str], None],
    ) -> None:
        self._contract, self._volumes, self._kept = contract, volumes, kept
        self._within, self._device, self._told = within, device, told
        self._tried: list[dict[str, Any]] = []
        self.plain = self._best = self._measured(Options())
        told(f"{Options()}: {self.plain.seconds:.3f} s, {len(volumes)} case(s)")

    def measure_all(self) -> None:
        """Each option on top of the best so far; ONNX Runtime computes by itself, and is tried last."""
        self._try(partial(replace, channels_last=True))
        for windows in WINDOWS:
            if not self._try(partial(replace, windows=windows)):
                break
        for option in ("bfloat16", "int8", "compiled"):
            self._try(partial(replace, **{option: True}))
        self._try(lambda best: Options(windows=best.windows, onnx=self._exported()))

    def choice(self) -> Choice:
        """What is to be kept."""
        return Choice(
            model=self._contract.name,
            options=self._best.options,
            within=self._within,
            agreement=round(self._best.agreement, 6),
            seconds=round(self._best.seconds, 4),
            plain_seconds=round(self.plain.seconds, 4),
            cases=len(self._volumes),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            tried=tuple(self._tried),
        )

    def _try(self, change: Callable[[Options], Options]) -> bool:
        """Measure one more way, and tell; False where it is not to be had."""
        row: dict[str, Any] = {"options": "ONNX Runtime", "seconds": None, "agreement": None, "kept": False}
        try:
            options = change(self._best.options)
            row["options"] = str(options)
            measured = self._measured(options)
        except (ContractError, ModelError) as error:
            row["why"] = f"not to be had: {str(error).splitlines()[0][:200]}"
        else:
            row |= {"seconds": round(measured.seconds, 4), "agreement": round(measured.agreement, 6)}
            why = self._judge(measured)
            row |= {"kept": not why, "why": why or "kept"}
            if not why:
                self._best = measured
        self._tried.append(row)
        figures = f"{row['seconds']:.3f} s, agreement {row['agreement']:.4f}: " if row["seconds"] is not None else ""
        self._told(f"{row['options']}: {figures}{row['why']}")
        return row["seconds"] is not None

    def _judge(self, measured: Measured) -> str:
        """Why it is not kept; empty where it is."""
        if measured.agreement < self._within:
            return "differs by more than allowed"
        if measured.seconds * FASTER > self._best.seconds:
            return "not faster"
        again = self._measured(self._best.options)  # the machine may have been busy before
        if measured.seconds * FASTER > again.seconds:
            return "not faster, when measured again"
        return ""

    def _measured(self, options: Options) -> Measured:
        """Warm first: the first run of a case compiles, and fills caches."""
        choice = Choice(self._contract.name, options, 0.0, 1.0, 1.0, 1.0, len(self._volumes), "")
        exported = self._kept.exported(options.onnx) if options.onnx else None
        with HostPool(self._device, chosen=lambda _: (choice, exported)) as pool:
            seconds, outputs = [], []
            for volumes in self._volumes:
                outputs.append(pool.run(self._contract, volumes))
                again = [pool.run(self._contract, volumes).timings["inference"] for _ in range(RUNS)]
                seconds.append(min(again))
        arrays = tuple(output.arrays for output in outputs)
        plain = self.plain.outputs if hasattr(self, "plain") else arrays
        agrees = min(agreement(one, other) for one, other in zip(plain, arrays, strict=True))
        return Measured(options, statistics.median(seconds), arrays, outputs[0].versions["device"], agrees)

    def _exported(self) -> str:
        """SHA-256 of the network, exported in its sandbox and put into the data directory by that name."""
        with HostPool(self._device) as pool, pool.exported(self._contract, self._volumes[0]) as file:
            with file.open("rb") as opened:
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            target = self._kept.exported(sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(".part")
            shutil.copyfile(file, part)
            part.replace(target)
        return sha256
