"""What an exception says: out of a bundle, told without torch, or one that nobody foresaw."""

from __future__ import annotations

import traceback

from dicom_node.errors import DicomNodeError

# Texts of torch's allocators, of the C library and of CUDA; kinds of exceptions differ between versions of torch.
_MEMORY_TEXTS = (
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "out of memory",
    "std::bad_alloc",
    "can't start new thread",
)


def innermost(error: BaseException) -> str:
    """Kind and message of the exception at the root of a chain; MONAI wraps what a transform raises."""
    cause = _chain(error)[-1]
    return f"{type(cause).__name__}: {cause}".strip().removesuffix(":")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was what an exception, or one that caused it, was about."""
    return any(isinstance(cause, MemoryError) or tells_of_memory(str(cause)) for cause in _chain(error))


def tells_of_memory(text: str) -> bool:
    """Whether a message or a program's output is that of a failed allocation."""
    lower = text.lower()
    return any(words in lower for words in _MEMORY_TEXTS)


def formatted(error: BaseException) -> str:
    """The traceback as Python prints it."""
    return "".join(traceback.format_exception(error))


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None and below not in chain:
        chain.append(below)
    return chain


def unforeseen(error: Exception) -> DicomNodeError:
    """What is told of an error that nobody has raised on purpose."""
    if isinstance(error, OSError):
        return DicomNodeError(
            f"{type(error).__name__}: {error}", reason="storage", remedy="is the disk full, or the data directory gone?"
        )
    return DicomNodeError(
        f"{type(error).__name__}: {error}",
        reason="unforeseen",
        remedy="this is a fault of dicom-node; the job's record holds the traceback (dicom-node jobs show)",
    )
