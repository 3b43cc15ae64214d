from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.errors import PeerError
from dicom_node.exchange.download import download


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of one file of ten bytes, to which another address leads."""
    (tmp_path / "file").write_bytes(bytes(range(10)))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(tmp_path))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/file")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["file", "moved"])
def test_what_is_there_is_written(server: str, tmp_path: Path, path: str) -> None:
    download(f"{server}/{path}", tmp_path / "got", 10)

    assert (tmp_path / "got").read_bytes() == bytes(range(10))


@pytest.mark.parametrize(
    ("address", "largest", "told"),
    [
        ("{}/absent", 10, "404"),
        ("{}/file", 9, "larger than 9 bytes"),
        ("http://127.0.0.1:9/x", 9, "cannot be"),
        ("", 9, "cannot be"),
    ],
)
def test_anything_else_is_told(server: str, tmp_path: Path, address: str, largest: int, told: str) -> None:
    with pytest.raises(PeerError, match=told):
        download(address.format(server), tmp_path / "got", largest)
