"""Fetch a release of OHIF and unpack what it needs: one file of npm's, known by its hash."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from dicom_node.errors import ConfigurationError
from dicom_node.settings import Settings

VERSION = "3.13.2"
PACKAGE = f"@ohif/app@{VERSION}"
# SHA-512 of the file, as the registry states it for this release.
INTEGRITY = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
LARGEST = 1 << 30  # bytes, unpacked
_PREFIX = "package/dist/"
_LEFT_OUT = ("ort/", "app-config.js")  # models that run in the browser; a configuration that points elsewhere
_TIMEOUT_S = 600


def folder(settings: Settings) -> Path:
    """Where the files of the release belong."""
    return settings.node.data_dir.absolute() / "ohif" / VERSION


def installed(settings: Settings) -> Path | None:
    """The folder of the files; None where OHIF is not installed."""
    found = folder(settings)
    return found if (found / "index.html").is_file() else None


def install(folder: Path, file: Path | None = None) -> int:
    """Unpack the release into ``folder``, from ``file`` or as npm fetches it; bytes that were written.

    What stood there before is replaced once the new files are whole.

    Raises:
        ConfigurationError: there is no npm, it gets nothing, or the file is another one than this release's.
    """
    with tempfile.TemporaryDirectory(prefix="ohif-") as name:
        archive = file or _fetched(Path(name))
        _check(archive)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            written = _unpack(archive, fresh)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return written


def _fetched(into: Path) -> Path:
    npm = shutil.which("npm")
    remedy = f"on a machine that has npm: npm pack {PACKAGE}; then: dicom-node ohif install --from FILE"
    if npm is None:
        raise ConfigurationError("npm, which fetches OHIF, is not installed", reason="no-npm", remedy=remedy)
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--pack-destination", str(into)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, cwd=into)
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"npm got no {PACKAGE} in {_TIMEOUT_S} s", reason="npm", remedy=remedy) from error
    found = list(into.glob("*.tgz"))
    if ran.returncode or len(found) != 1:
        said = ran.stderr.strip().splitlines()
        raise ConfigurationError(
            f"npm cannot fetch {PACKAGE}: {said[-1] if said else 'it says nothing'}", reason="npm", remedy=remedy
        )
    return found[0]


def _check(archive: Path) -> None:
    digest = hashlib.sha512()
    try:
        with archive.open("rb") as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise ConfigurationError(f"{archive} cannot be read: {error.strerror}", reason="no-file") from error
    if base64.b64encode(digest.digest()).decode("ascii") != INTEGRITY:
        raise ConfigurationError(
            f"{archive.name} is not the file of {PACKAGE}: its SHA-512 is another one",
            reason="other-file",
            remedy=f"fetch it again: npm pack {PACKAGE}",
        )


def _unpack(archive: Path, folder: Path) -> int:
    """Files of ``dist/``; each is checked by name, though the whole is known by its hash."""
    folder.mkdir(parents=True)
    written = 0
    with tarfile.open(archive, "r:gz") as opened:
        for member in opened:
            name = member.name.removeprefix(_PREFIX)
            wanted = member.isfile() and member.name.startswith(_PREFIX) and not name.endswith(".map")
            if not wanted or name.startswith(_LEFT_OUT) or ".." in name.split("/"):
                continue
            source = opened.extractfile(member)
            written += member.size
            if source is None or written > LARGEST:
                raise ConfigurationError(f"{archive.name} holds more than it should", reason="other-file")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(source, out)
    return written
