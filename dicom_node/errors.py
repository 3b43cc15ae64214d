"""Every error this project raises on purpose.

    DicomNodeError
    ├── ConfigurationError        a setting, rule or contract is wrong; nothing starts with it
    │   ├── RuleError             a condition of a rule
    │   └── ContractError         a bundle or its model.toml
    ├── InputError                this object, series or study cannot be used; a person must act
    │   ├── NotDicomError         not a DICOM Part 10 file, or cut off
    │   ├── HeaderError           an attribute that is needed is absent or malformed
    │   ├── PixelError            pixel data that cannot be decoded
    │   ├── GeometryError         the images do not form a volume
    │   └── GenomeError           a genome, its manifest or what it is compared with cannot be used
    ├── ModelError                a model failed on an input that is fine
    │   ├── ModelRaised           its code raised
    │   ├── ModelTimeout          it ran past its time limit
    │   ├── ModelOutOfMemory      it asked for more memory than it may have
    │   ├── ModelCrashed          its process died
    │   └── ModelOutputError      what it returned does not fit its contract
    ├── ResultError               an object we wrote does not read back as what was found
    ├── PeerError                 a peer is unreachable, or refuses; tried again
    ├── BrokerError               the broker is unreachable; tried again
    └── LedgerError               the ledger cannot do what was asked
        └── Fenced                this attempt no longer owns its job; it must commit nothing

Each carries ``reason``, a short kebab-case name that stands in the ledger and in ``--json``, and ``remedy``,
what a person can do about it.
"""

from __future__ import annotations

from pathlib import Path


class DicomNodeError(Exception):
    """Root of the tree; ``str(error)`` is the message alone."""

    default_reason = "error"

    def __init__(self, message: str, *, reason: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.reason, self.remedy, self.__dict__.copy()))


def _rebuild(
    kind: type[DicomNodeError], message: str, reason: str, remedy: str, state: dict[str, object]
) -> DicomNodeError:
    error = kind.__new__(kind)
    DicomNodeError.__init__(error, message, reason=reason, remedy=remedy)
    error.__dict__.update(state)
    return error


class ConfigurationError(DicomNodeError):
    """A setting is wrong. Names the file, the line and the key where they are known."""

    default_reason = "configuration"

    def __init__(
        self,
        message: str,
        *,
        file: Path | None = None,
        line: int | None = None,
        key: str | None = None,
        reason: str | None = None,
        remedy: str = "",
    ) -> None:
        place = f"{file}" if file else ""
        if place and line:
            place += f":{line}"
        if key:
            place = f"{place}: {key}" if place else key
        super().__init__(f"{place}: {message}" if place else message, reason=reason, remedy=remedy)
        self.file = file
        self.line = line
        self.key = key


class RuleError(ConfigurationError):
    """A rule cannot be used."""

    default_reason = "rule"


class ContractError(ConfigurationError):
    """A bundle or its model.toml cannot be used."""

    default_reason = "contract"


class InputError(DicomNodeError):
    """An object, series or study cannot be used as it is; running again changes nothing."""

    default_reason = "input"


class NotDicomError(InputError):
    """Not a DICOM Part 10 file, or one that ends before its data set does."""

    default_reason = "not-dicom"


class HeaderError(InputError):
    """An attribute that is needed is absent or malformed."""

    default_reason = "header"


class PixelError(InputError):
    """Pixel data that cannot be decoded."""

    default_reason = "pixel-data"


class GeometryError(InputError):
    """The images do not form a volume; ``reason`` names the fault."""

    default_reason = "geometry"


class GenomeError(InputError):
    """A genome file, its manifest, a polygenic score or a table of genes cannot be used; ``reason`` names the fault."""

    default_reason = "genome"


class ModelError(DicomNodeError):
    """A model failed on an input that is fine. May be tried again.

    ``traceback`` is that of the model's own code and ``output`` the last lines its process printed, where known.
    """

    default_reason = "model"

    def __init__(
        self, message: str, *, reason: str | None = None, remedy: str = "", traceback: str = "", output: str = ""
    ) -> None:
        super().__init__(message, reason=reason, remedy=remedy)
        self.traceback = traceback
        self.output = output


class ModelRaised(ModelError):
    """The model's code raised an exception."""

    default_reason = "model-raised"


class ModelTimeout(ModelError):
    """The model ran past its time limit and was ended."""

    default_reason = "model-timeout"


class ModelOutOfMemory(ModelError):
    """The model asked for more memory than it may have."""

    default_reason = "model-out-of-memory"


class ModelCrashed(ModelError):
    """The model's process died."""

    default_reason = "model-crashed"


class ModelOutputError(ModelError):
    """What the model returned does not fit its contract."""

    default_reason = "model-output"


class ResultError(DicomNodeError):
    """A result object does not read back as what was found; it is not sent."""

    default_reason = "result"


class PeerError(DicomNodeError):
    """A peer is unreachable or refuses. Tried again, not before ``retry_after_s`` seconds where the peer says so."""

    default_reason = "peer"

    def __init__(
        self, message: str, *, reason: str | None = None, remedy: str = "", retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message, reason=reason, remedy=remedy)
        self.retry_after_s = retry_after_s


class BrokerError(DicomNodeError):
    """The broker is unreachable. Tried again."""

    default_reason = "broker"


class LedgerError(DicomNodeError):
    """The ledger cannot do what was asked."""

    default_reason = "ledger"


class Fenced(LedgerError):
    """This attempt no longer owns its job: another one does, or the job has ended."""

    default_reason = "fenced"
