"""Medplum's FHIR router as an independent FHIR server: a Node.js program beside this file, in memory, on loopback."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from peers import unavailable

HERE = Path(__file__).parent
_PACKAGES = ("server.mjs", "package.json")
_INSTALL_S = 180


def installed() -> Path:
    """The folder with its packages, which npm fetches once into the environment; skips, or fails under CI, without."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("Node.js and npm are not installed", "apt-get install nodejs npm")
    folder = Path(sys.prefix) / "medplum"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done, wanted = folder / ".installed", (HERE / "package.json").read_text()
        if not done.exists() or done.read_text() != wanted:
            for name in _PACKAGES:
                shutil.copy(HERE / name, folder)
            command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
            ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
            if ran.returncode:
                said = ran.stderr.strip().splitlines()[:1]
                unavailable(f"npm cannot fetch Medplum: {' '.join(said)}", f"see: cd {HERE} && npm install")
            done.write_text(wanted)
        shutil.copy(HERE / "server.mjs", folder)
    return folder


class Medplum:
    """An empty server; start it with ``with``."""

    def __enter__(self) -> Medplum:
        folder = installed()
        node = str(shutil.which("node"))
        self._process = subprocess.Popen(
            [node, "server.mjs"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/fhir/R4"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()  # on which it ends
        self._process.wait(20)
        self._process.stdout.close()

    def change(self, kind: str, patient: str) -> str:
        """Double the number of the first resource of a kind of a patient; its reference."""
        (found, *_) = self._search(kind, patient)
        found["valueQuantity"]["value"] *= 2
        url = f"{self.url}/{kind}/{found['id']}"
        httpx.put(url, json=found, headers={"Content-Type": "application/fhir+json"}, timeout=60).raise_for_status()
        return f"{kind}/{found['id']}"

    def delete(self, kind: str, patient: str) -> str:
        """Delete the last resource of a kind of a patient; its reference."""
        (*_, found) = self._search(kind, patient)
        httpx.delete(f"{self.url}/{kind}/{found['id']}", timeout=60).raise_for_status()
        return f"{kind}/{found['id']}"

    def _search(self, kind: str, patient: str) -> list[dict[str, Any]]:
        """Body mass indices, of which every patient of the data has several."""
        asked = {"patient": patient, "code": "http://loinc.org|39156-5", "_count": "1000"}
        answer = httpx.get(f"{self.url}/{kind}", params=asked, timeout=60).json()
        return [entry["resource"] for entry in answer["entry"]]

    def load(self, bundle: bytes) -> None:
        """Carry out a transaction."""
        headers = {"Content-Type": "application/fhir+json"}
        answer = httpx.post(f"{self.url}/", content=bundle, headers=headers, timeout=60)
        entries = answer.json().get("entry", ())
        assert entries and all(entry["response"]["status"] == "201" for entry in entries)
