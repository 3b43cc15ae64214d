"""Files from a web server, streamed to disk."""

from __future__ import annotations

from pathlib import Path

import httpx

from dicom_node.errors import PeerError

_CHUNK = 2**20
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


def download(address: str, file: Path, largest: int) -> None:
    """Write what ``address`` gives to ``file``; redirects are followed.

    Raises:
        PeerError: it cannot be had, or is larger than ``largest`` bytes.
    """
    try:
        with (
            httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client,
            client.stream("GET", address) as response,
            file.open("wb") as out,
        ):
            response.raise_for_status()
            left = largest
            for part in response.iter_bytes(_CHUNK):
                left -= len(part)
                if left < 0:
                    raise PeerError(f"{address} is larger than {largest} bytes", reason="download")
                out.write(part)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PeerError(f"{address} cannot be downloaded: {error}", reason="download") from error
