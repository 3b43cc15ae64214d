"""DICOM unique identifiers: checking those of others, making our own."""

from __future__ import annotations

import re
import uuid

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")

# Implementation Class UID and Version Name of every file and association of ours (PS3.7 D.3.3.2).
IMPLEMENTATION_CLASS_UID = "2.25.302917452680935163842078812049384671"
IMPLEMENTATION_VERSION_NAME = "DICOM_NODE_0_1"

# Private Information Creator UID of the receipt in an object's file meta information (PS3.10 7.1, 0002,0100).
RECEIPT_CREATOR_UID = "2.25.302917452680935163842078812049384672"


def is_valid_uid(text: str) -> bool:
    """Whether ``text`` is a UID: at most 64 characters, numeric components without leading zeros (PS3.5 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def uid_from_uuid(value: uuid.UUID) -> str:
    """The UID ``2.25.<integer>`` of a UUID (PS3.5 B.2)."""
    return f"2.25.{value.int}"


def result_uid(installation: uuid.UUID, job_key: str, output: str, issue: int, profile: str) -> str:
    """The UID of one result object or series.

    The same job gives the same UIDs however often it runs, so a repeated delivery can never become a second
    result; another ``issue`` (a rerun on purpose) or encoding ``profile`` gives others. UUIDv5, RFC 9562.
    """
    return uid_from_uuid(uuid.uuid5(installation, f"{job_key}|{output}|{issue}|{profile}"))
