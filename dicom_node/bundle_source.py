"""A bundle from a folder, an archive, an address or the Model Zoo, brought into a folder of models.

Nothing of it is run. An archive that would write elsewhere, or unpack to more than it may, is refused before a byte of
it is kept.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from dicom_node.errors import ContractError, PeerError
from dicom_node.exchange.download import download

# Where MONAI's Model Zoo keeps its bundles, one archive per version.
ZOO = "https://github.com/Project-MONAI/model-zoo/releases/download/hosting_storage_v1/{name}_v{version}.zip"
LARGEST_BYTES = 20 * 2**30  # of a bundle, unpacked or of a download
MOST_FILES = 20_000
LARGEST_RATIO = 200  # unpacked to packed, of a file over 10 MiB; weights hardly shrink
_RATIO_FROM = 10 * 2**20
_CHUNK = 2**20
_HASHES = ("md5", "sha1", "sha256")


def acquire(source: str, into: Path, *, zoo: str = ZOO) -> Path:
    """Copy or download the bundle into a folder of its name under ``into``; returns that folder.

    ``source`` is a folder, a zip archive, an ``http(s)://`` address of one, or ``NAME@VERSION`` of the Model Zoo.

    Raises:
        ContractError: reasons ``no-bundle``, ``exists``, ``bad-archive``, ``download``.
    """
    given = Path(source).expanduser()
    with tempfile.TemporaryDirectory(prefix="dicom-node-add-") as scratch:
        if given.is_dir():
            found = _bundle_in(given, source)
        else:
            archive = given if given.is_file() else _downloaded(_address(source, zoo), Path(scratch) / "bundle.zip")
            found = _bundle_in(unpack(archive, Path(scratch) / "unpacked"), source)
        name = given.resolve().name if found == given else found.name
        target = into / re.sub(r"(_v[\d.]+)?(\.zip)?$", "", name)
        if target.exists():
            raise ContractError(
                f"there is {target} already", reason="exists", remedy="remove it, or name another folder with --into"
            )
        into.mkdir(parents=True, exist_ok=True)
        shutil.copytree(found, target, symlinks=False, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    return target


def _address(source: str, zoo: str) -> str:
    if source.startswith(("http://", "https://")):
        return source
    zoo_name = re.fullmatch(r"([A-Za-z]\w*)@(\d+(?:\.\d+)*)", source)
    if zoo_name is None:
        raise ContractError(
            f"{source!r} is no folder, no zip archive, no address, and no NAME@VERSION of the Model Zoo",
            reason="no-bundle",
            remedy="e.g. spleen_ct_segmentation@0.5.9",
        )
    return zoo.format(name=zoo_name[1], version=zoo_name[2])


def _bundle_in(folder: Path, source: str) -> Path:
    """The folder itself, or the one folder in it that holds ``configs``."""
    candidates = [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]
    found = [each for each in candidates if (each / "configs").is_dir() or (each / "model.toml").is_file()]
    if not found:
        raise ContractError(
            f"{source} holds no bundle: there is no folder configs in it",
            reason="no-bundle",
            remedy="give the folder that holds configs/metadata.json",
        )
    return found[0]


def unpack(archive: Path, into: Path) -> Path:
    """Unpack a zip archive under ``into``; returns it.

    Raises:
        ContractError: ``bad-archive``: it is no archive, holds links or paths that lead outside, or is too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            for fault in _archive_faults(entries):
                raise _bad_archive(archive, fault)
            for entry in entries:
                if not entry.is_dir():
                    _unpack_file(opened, entry, into / entry.filename)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise _bad_archive(archive, str(error)) from error
    into.mkdir(exist_ok=True)
    return into


def _archive_faults(entries: list[zipfile.ZipInfo]) -> Iterator[str]:
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", entry.filename):
            yield f"{entry.filename!r} leads outside of it"
        if stat.S_ISLNK(entry.external_attr >> 16):
            yield f"{entry.filename!r} is a link"
        if entry.file_size > _RATIO_FROM and entry.file_size > LARGEST_RATIO * max(entry.compress_size, 1):
            yield f"{entry.filename!r} unpacks to {entry.file_size // max(entry.compress_size, 1)} times its size"
    if len(entries) > MOST_FILES:
        yield f"it holds {len(entries)} files, {MOST_FILES} are the most"
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST_BYTES:
        yield f"it unpacks to {total} bytes, {LARGEST_BYTES} are the most"


def _unpack_file(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """What its directory says of an entry's size may be a lie, so what comes out is counted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as packed, target.open("wb") as out:
        while part := packed.read(_CHUNK):
            left -= len(part)
            if left < 0:
                raise zipfile.BadZipFile(f"{entry.filename!r} is larger than it says")
            out.write(part)


def _bad_archive(archive: Path, fault: str) -> ContractError:
    return ContractError(
        f"is refused: {fault}", file=archive, reason="bad-archive", remedy="get the bundle from its maker again"
    )


def _downloaded(address: str, file: Path) -> Path:
    """Raises ContractError (``download``) with what the server said."""
    try:
        download(address, file, LARGEST_BYTES)
    except PeerError as error:
        raise ContractError(
            error.message, reason="download", remedy="download it elsewhere, and add the file"
        ) from error
    return file


def large_files(folder: Path) -> tuple[Mapping[str, Any], ...]:
    """Entries of ``large_files.yml``: ``path``, ``url``, and mostly ``hash_val`` and ``hash_type``.

    Raises:
        ContractError: the file is no list of them, or names a path outside the bundle.
    """
    for name in ("large_files.yml", "large_files.yaml", "large_files.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            entries = yaml.safe_load(file.read_text(encoding="utf-8"))["large_files"]
            for entry in entries:
                if not (folder / entry["path"]).resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"{entry['path']!r} leads outside the bundle")
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            raise ContractError(f"cannot be used: {error}", file=file, remedy="restore it from its source") from error
        return tuple(entries)
    return ()


def fetch(folder: Path, entry: Mapping[str, Any]) -> None:
    """Download one of the bundle's large files to its place, where its hash is the one that is told.

    Raises:
        ContractError: ``download``, or ``wrong-hash``.
    """
    target = folder / str(entry["path"])
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    try:
        _downloaded(str(entry.get("url", "")), partial)
        fault = hash_fault(partial, entry)
        if fault:
            raise ContractError(f"{entry['url']} gave another file: {fault}", reason="wrong-hash")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def hash_fault(file: Path, entry: Mapping[str, Any]) -> str:
    """What is wrong with a large file's hash; empty where it is right, or none is told."""
    kind, wanted = str(entry.get("hash_type", "")).lower(), str(entry.get("hash_val", "")).lower()
    if not wanted or kind not in _HASHES:
        return ""
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, kind).hexdigest()
    return "" if found == wanted else f"its {kind} is {found}, not {wanted}"
