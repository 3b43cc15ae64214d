"""Bundles from folders, archives and a server on this machine; what would reach beyond its folder is refused."""

from __future__ import annotations

import hashlib
import http.server
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node import bundle_source
from dicom_node.bundle_source import acquire, fetch, large_files, unpack
from dicom_node.errors import ContractError

WEIGHTS = b"weights"
LISTED = "large_files:\n- path: models/model.pt\n  url: {url}\n  hash_val: {md5}\n  hash_type: md5\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle called ``spleen``."""
    made = tmp_path / "made" / "spleen"
    (made / "configs").mkdir(parents=True)
    (made / "configs" / "metadata.json").write_text("{}")
    (made / "scripts" / "__pycache__").mkdir(parents=True)
    (made / "scripts" / "__pycache__" / "x.pyc").touch()
    return made


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    """The same as an archive that expands to ``spleen/``."""
    file = tmp_path / "served" / "spleen_v0.1.zip"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as packed:
        packed.write(folder / "configs" / "metadata.json", "spleen/configs/metadata.json")
    return file


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    """The address of a server of the folder in which the archive lies."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(archive.parent))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def reason_of(source: str, into: Path) -> str:
    with pytest.raises(ContractError) as caught:
        acquire(source, into)
    return caught.value.reason


def test_a_bundle_comes_under_its_name_wherever_it_is_from(
    folder: Path, archive: Path, server: str, tmp_path: Path
) -> None:
    sources = {"folder": folder, "zip": archive, "url": f"{server}/spleen_v0.1.zip"}
    for how, source in sources.items():
        added = acquire(str(source), tmp_path / how)
        assert added == tmp_path / how / "spleen"
        assert (added / "configs" / "metadata.json").is_file()
        assert not (added / "scripts" / "__pycache__").exists()


def test_the_model_zoo_is_asked_for_a_name_and_a_version(server: str, tmp_path: Path) -> None:
    added = acquire("spleen@0.1", tmp_path / "zoo", zoo=server + "/{name}_v{version}.zip")

    assert added == tmp_path / "zoo" / "spleen"


def test_what_is_no_bundle_or_is_there_already_is_refused(folder: Path, server: str, tmp_path: Path) -> None:
    assert reason_of(str(tmp_path / "made" / "spleen" / "scripts"), tmp_path / "into") == "no-bundle"
    assert reason_of("spleen", tmp_path / "into") == "no-bundle"
    assert reason_of(f"{server}/nothing.zip", tmp_path / "into") == "download"
    assert reason_of("http://127.0.0.1:9/spleen.zip", tmp_path / "into") == "download"
    assert reason_of(str(folder), folder.parent) == "exists"


def packed(file: Path, name: str, content: bytes, mode: int = 0) -> Path:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return file


@pytest.mark.parametrize(
    ("name", "mode", "fault"),
    [
        ("../outside", 0, "leads outside"),
        ("a/../../outside", 0, "leads outside"),
        ("/outside", 0, "leads outside"),
        ("..\\outside", 0, "leads outside"),
        ("C:outside", 0, "leads outside"),
        ("link", stat.S_IFLNK | 0o777, "is a link"),
    ],
)
def test_an_archive_that_reaches_beyond_its_folder_is_refused(tmp_path: Path, name: str, mode: int, fault: str) -> None:
    file = packed(tmp_path / "slip.zip", name, b"/etc/passwd", mode)

    with pytest.raises(ContractError, match=fault) as caught:
        unpack(file, tmp_path / "into" / "deep")

    assert caught.value.reason == "bad-archive"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slip.zip"]


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = packed(tmp_path / "bomb.zip", "zeros", bytes(12 * 2**20))
    with pytest.raises(ContractError, match="times its size"):
        unpack(bomb, tmp_path / "into")

    monkeypatch.setattr(bundle_source, "LARGEST_BYTES", 100)
    with pytest.raises(ContractError, match="unpacks to 101 bytes"):
        unpack(packed(tmp_path / "large.zip", "zeros", bytes(101)), tmp_path / "into")
    monkeypatch.setattr(bundle_source, "MOST_FILES", 0)
    with pytest.raises(ContractError, match="holds 1 files"):
        unpack(packed(tmp_path / "many.zip", "zeros", b"x"), tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spleen.zip").write_bytes(b"PK\x03\x04 not")

    assert reason_of(str(tmp_path / "spleen.zip"), tmp_path / "into") == "bad-archive"


def test_weights_are_downloaded_and_kept_only_with_their_hash(folder: Path, archive: Path, server: str) -> None:
    (archive.parent / "model.pt").write_bytes(WEIGHTS)
    md5 = hashlib.md5(WEIGHTS).hexdigest()  # noqa: S324  what the Model Zoo tells
    (folder / "large_files.yml").write_text(LISTED.format(url=f"{server}/model.pt", md5=md5))
    (entry,) = large_files(folder)

    fetch(folder, entry)

    assert (folder / "models" / "model.pt").read_bytes() == WEIGHTS
    with pytest.raises(ContractError, match="gave another file: its md5 is") as caught:
        fetch(folder, {**entry, "path": "models/other.pt", "hash_val": "0" * 32})
    assert caught.value.reason == "wrong-hash"
    assert [file.name for file in (folder / "models").iterdir()] == ["model.pt"]


@pytest.mark.parametrize("path", ["../outside.pt", "/etc/outside.pt"])
def test_weights_lie_within_the_bundle(folder: Path, path: str) -> None:
    (folder / "large_files.yml").write_text(LISTED.replace("models/model.pt", path))

    with pytest.raises(ContractError, match="leads outside the bundle"):
        large_files(folder)
