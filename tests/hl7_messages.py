"""HL7 messages made for tests."""

from __future__ import annotations

AUTHORITY = "HOSPITAL"


def header(
    kind: str, control: str = "1", at: str = "20260301120000+0000", version: str = "2.5", charset: str = ""
) -> str:
    """MSH."""
    return f"MSH|^~\\&|ADT1|GENERAL|NODE|AI|{at}||{kind}|{control}|P|{version}||||||{charset}"


def pid(
    number: str = "SYN-1", name: str = "Doe^Jane", birth: str = "19640301", sex: str = "F", of: str = AUTHORITY
) -> str:
    """PID."""
    return f"PID|1||{number}^^^{of}^MR||{name}||{birth}|{sex}"


def mrg(number: str) -> str:
    """MRG."""
    return f"MRG|{number}^^^{AUTHORITY}^MR"


def obx(code: str, value: str, unit: str, status: str = "F", at: str = "20260201080000+0000", kind: str = "NM") -> str:
    """OBX with a LOINC code."""
    return f"OBX|1|{kind}|{code}^x^LN||{value}|{unit}|||||{status}|||{at}"


def message(*segments: str) -> bytes:
    """As it goes over the wire, without the frame."""
    return ("\r".join(segments) + "\r").encode()
