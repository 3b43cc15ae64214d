"""OHIF, the viewer: its prebuilt files, served on a port of their own together with the DICOMweb that it reads.

It wants to be a site's root, and to be told where the images are; nothing of it is part of this package. A release is
unpacked into the data directory by ``dicom-node ohif install``; without it nothing else changes.
"""

from __future__ import annotations

from pathlib import Path

from dicom_node.settings import Settings

VERSION = "3.13.2"


def folder(settings: Settings) -> Path:
    """Where the files of the release belong."""
    return settings.node.data_dir.absolute() / "ohif" / VERSION


def installed(settings: Settings) -> Path | None:
    """The folder of the files; None where OHIF is not installed."""
    found = folder(settings)
    return found if (found / "index.html").is_file() else None
