"""Unpacking a release of OHIF."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.web import ohif_release


def release(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "app.tgz"
    with tarfile.open(path, "w:gz") as out:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("package/dist/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
    return path


FILES = {
    "package/dist/index.html": b"page",
    "package/dist/assets/a.css": b"style",
    "package/dist/a.js.map": b"map",
    "package/dist/ort/ort.js": b"model",
    "package/dist/app-config.js": b"elsewhere",
    "package/dist/../../outside": b"x",
    "package/package.json": b"{}",
}


def test_what_the_viewer_needs_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = release(tmp_path, FILES)
    digest = base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    monkeypatch.setattr(ohif_release, "INTEGRITY", digest)
    folder = tmp_path / "ohif" / "1"
    for _ in range(2):  # a second time replaces the first
        assert ohif_release.install(folder, file) == len(b"pagestyle")
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        assert found == ["assets/a.css", "index.html"]
    assert not (tmp_path / "outside").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_another_file_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SHA-512 is another one"):
        ohif_release.install(tmp_path / "ohif", release(tmp_path, FILES))
    assert not (tmp_path / "ohif").exists()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ohif_release.install(tmp_path / "ohif", tmp_path / "nothing.tgz")


def test_without_npm_the_way_without_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        ohif_release.install(tmp_path / "ohif")
    assert "--from FILE" in caught.value.remedy


def test_an_npm_that_gets_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'no network' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ConfigurationError, match="no network"):
        ohif_release.install(tmp_path / "ohif")
