"""Real programs the tests talk to, each started on ports of its own and ended by its process id.

Programs that are missing skip the test with the command that installs them; under ``CI=true`` that is a failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DCMTK = (
    *("dcmdump", "dcmodify", "dsrdump", "echoscu", "findscu", "getscu", "movescu", "storescp", "storescu"),
    "wlmscpfs",
)
PACKAGES = {
    **dict.fromkeys(DCMTK, "dcmtk"),
    "Orthanc": "orthanc",
    "openssl": "openssl",
    "redis-server": "redis-server",
    "postgres": "postgresql",
    "java": "default-jre-headless libpixelmed-java libsaxonb-java",
}

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

# DCMTK, and Orthanc with it, waits 40 ms per message unless told otherwise.
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def unavailable(what: str, remedy: str) -> None:
    """Skip where something outside is missing; under CI that is a failure."""
    message = f"{what}; {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def program(name: str) -> str:
    """Path of an installed program; skips, or fails under CI, where it is missing.

    Those of DCMTK are not looked for beside our own Python, where pynetdicom installs programs of the same names.
    """
    own = Path(sys.executable).parent
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders = [own, *(folder for folder in folders if folder != own), Path("/usr/sbin"), Path("/usr/local/sbin")]
    if PACKAGES.get(name) == "dcmtk":
        folders.remove(own)
    found = shutil.which(name, path=os.pathsep.join(map(str, folders)))
    if found is None:
        unavailable(f"{name} is not installed", f"apt-get install {PACKAGES.get(name, name)}")
    return str(found)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = 30.0) -> Any:
    """Return the first true value of ``condition``; fail with ``what`` when it stays false."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


def end(process: subprocess.Popen[Any], *, seconds: float = 15.0) -> None:
    """Ask a process to end; kill it when it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_peer(name: str, *arguments: str | Path | int, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run an installed program to its end, without judging its exit status; output is text."""
    return subprocess.run(
        [program(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        env=ENVIRONMENT,
        check=False,
    )


def storescu(
    port: int,
    *sources: Path,
    called: str,
    calling: str = "STORESCU",
    host: str = "127.0.0.1",
    options: Sequence[str] = (),
    seconds: float = 300.0,
) -> subprocess.CompletedProcess[str]:
    """Send files, or all DICOM files under folders, with DCMTK's storescu over one association.

    Its SOP classes are negotiated from the files (``--required`` comes with ``options``); an association that is
    rejected and a status that is not Success both give a return code that is not 0.
    """
    scan = ("--scan-directories", "--recurse") if any(source.is_dir() for source in sources) else ()
    return run_peer(
        "storescu", "--aetitle", calling, "--call", called, *scan, *options, host, port, *sources, seconds=seconds
    )


def echoscu(port: int, *, called: str, calling: str = "ECHOSCU") -> subprocess.CompletedProcess[str]:
    """C-ECHO with DCMTK's echoscu."""
    return run_peer("echoscu", "--aetitle", calling, "--call", called, "127.0.0.1", port, seconds=30)


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as Orthanc's REST interface tells it."""

    id: str  # Orthanc's own
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    series_uid: str
    study_uid: str


@dataclass(slots=True)
class Orthanc:
    """A real Orthanc as the PACS; its storage and ports stay the same when it is stopped and started again."""

    folder: Path
    aet: str = "ORTHANC"
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    options: dict[str, Any] = field(default_factory=dict)  # further keys of Orthanc's configuration
    modalities: dict[str, tuple[str, str, int]] = field(default_factory=dict)  # name → AE title, host, port
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        executable = program("Orthanc")
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "orthanc.json"
        file.write_text(json.dumps(self._configuration(), indent=1))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                [executable, "--verbose", str(file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=ENVIRONMENT
            )
        wait_until(self._answers, f"Orthanc to start, see {self.folder / 'orthanc.log'}", seconds=60)

    def serve_dicomweb(self) -> str:
        """Have it serve DICOMweb from its next start on; the URL."""
        if not DICOMWEB_PLUGIN.exists():
            unavailable("Orthanc's DICOMweb plugin is not installed", "apt-get install orthanc-dicomweb")
        self.options |= {"Plugins": [str(DICOMWEB_PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def stop(self) -> None:
        """End it; what it stored stays."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def _configuration(self) -> dict[str, Any]:
        return {
            "Name": "tests",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": self.aet,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "UnknownSopClassAccepted": True,
            "DicomModalities": {name: list(where) for name, where in self.modalities.items()},
            "StableAge": 1,
            "Plugins": [],
            **self.options,
        }

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            pytest.fail(f"Orthanc ended at start: {(self.folder / 'orthanc.log').read_text()[-2000:]}")
        try:
            self.get("/system")
        except OSError:
            return False
        return True

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """One REST request, a body that is no text as JSON; raises ``HTTPError`` with Orthanc's own message in it."""
        data = body.encode() if isinstance(body, str) else body
        if not isinstance(data, bytes | None):
            data = json.dumps(data).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            error.msg = f"{error.msg}: {error.read().decode(errors='replace')}"
            raise

    def get(self, path: str) -> Any:
        """What a JSON resource says."""
        return json.loads(self.request("GET", path))

    def instances(self, study_uid: str | None = None) -> list[Instance]:
        """Everything it holds, or what it holds of one study."""
        listed = []
        for entry in self.get("/instances"):
            parents = {level: self.get(f"/instances/{entry}/{level}")["MainDicomTags"] for level in ("series", "study")}
            instance = Instance(
                id=entry,
                sop_instance_uid=self.get(f"/instances/{entry}")["MainDicomTags"]["SOPInstanceUID"],
                sop_class_uid=self.request("GET", f"/instances/{entry}/metadata/SopClassUid").decode(),
                modality=parents["series"].get("Modality", ""),
                series_uid=parents["series"]["SeriesInstanceUID"],
                study_uid=parents["study"]["StudyInstanceUID"],
            )
            if study_uid in (None, instance.study_uid):
                listed.append(instance)
        return listed

    def studies(self) -> list[str]:
        """Study Instance UIDs it holds."""
        return [study["MainDicomTags"]["StudyInstanceUID"] for study in self.get("/studies?expand")]

    def series_of(self, study_uid: str) -> dict[str, list[str]]:
        """Series Instance UIDs of a study by modality; empty when it does not hold the study."""
        found: dict[str, list[str]] = {}
        for series in self.get("/series?expand"):
            if self.get(f"/series/{series['ID']}/study")["MainDicomTags"]["StudyInstanceUID"] == study_uid:
                tags = series["MainDicomTags"]
                found.setdefault(tags.get("Modality", ""), []).append(tags["SeriesInstanceUID"])
        return found

    def download(self, instance_id: str) -> bytes:
        """The Part 10 file of an instance, as stored."""
        return self.request("GET", f"/instances/{instance_id}/file")

    def know(self, name: str, aet: str, port: int, host: str = "127.0.0.1") -> None:
        """Tell it of a remote application entity, now and after each start."""
        self.modalities[name] = (aet, host, port)
        if self.process is not None:
            self.request("PUT", f"/modalities/{name}", {"AET": aet, "Host": host, "Port": port})

    def store_to(self, name: str, uid: str) -> dict[str, Any]:
        """Send a study, series or instance to the modality of that name, and wait for the end of it."""
        resources = [entry["ID"] for entry in json.loads(self.request("POST", "/tools/lookup", uid))]
        answer = json.loads(self.request("POST", f"/modalities/{name}/store", {"Resources": resources}))
        return dict(answer)


@dataclass(slots=True)
class RedisServer:
    """A real Redis server without persistence; started again it has forgotten everything."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, as the broker setting takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("redis-server"), *arguments, "--dir", str(self.folder)], stdout=log, stderr=log
            )
        wait_until(self._answers, f"Redis to start, see {self.folder / 'redis.log'}")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@dataclass(slots=True)
class PostgreSQL:
    """A real PostgreSQL server of our own, on a unix socket in its folder; nothing of it outlives the tests."""

    folder: Path  # short: its socket's path has a limit
    process: subprocess.Popen[bytes] | None = None
    made: int = 0
    durable: bool = False  # commits wait for the disk, as in a hospital; tests need not

    def start(self) -> None:
        """Make a cluster unless there is one, start it, wait until it answers."""
        programs = postgresql_programs()
        data = self.folder / "data"
        account: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
            account |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        if not data.exists():
            make = [programs / "initdb", "--pgdata", data, "--username", "tests", "--auth", "trust", "--no-sync"]
            subprocess.run([*map(str, make)], check=True, capture_output=True, **account)
        serve = [programs / "postgres", "-D", data, "-k", self.folder, "-c", "listen_addresses="]
        serve += [] if self.durable else ["-F"]
        self.process = subprocess.Popen(
            [*map(str, serve)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account
        )
        wait_until(lambda: self._sql("SELECT 1"), "PostgreSQL to start", seconds=60)

    def database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        self.made += 1
        assert self._sql(f"CREATE DATABASE t{self.made}")
        return f"postgresql+psycopg://tests@/t{self.made}?host={self.folder}"

    def stop(self) -> None:
        """End it at once, without a word to whoever is connected; its databases stay."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None

    def _sql(self, statement: str) -> bool:
        command = [str(postgresql_programs() / "psql"), "-h", str(self.folder), "-U", "tests", "-d", "postgres"]
        return subprocess.run([*command, "-qc", statement], capture_output=True, check=False).returncode == 0


def postgresql_programs() -> Path:
    """The folder of the newest installed PostgreSQL; Debian keeps it off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else Path(program("postgres")).parent


# Any NUM below a measurement is taken for one that it was inferred from (TID 1419, rows 13 and 14); those of TID 310,
# which the template includes as properties of the measurement, are not known.
FALSE_ERROR = re.compile(r"(upper|lower) measurement uncertainty.*expected INFERRED FROM - found HAS PROPERTIES")


def validate_sr(file: Path) -> str:
    """What PixelMed's SR validator (that of IHE's connectathons) says of an SR file, without errors that are none."""
    jars = [Path("/usr/share/java/pixelmed.jar"), Path("/usr/share/java/saxonb.jar")]
    for jar in jars:
        if not jar.exists():
            unavailable(f"{jar.name} is not installed", f"apt-get install {PACKAGES['java']}")
    # The default XSLT engine needs minutes for the validator's style sheets; Saxon needs seconds.
    ran = run_peer(
        "java",
        "-Djavax.xml.transform.TransformerFactory=net.sf.saxon.TransformerFactoryImpl",
        "-cp",
        ":".join(map(str, jars)),
        "com.pixelmed.validate.DicomSRValidator",
        file,
    )
    said = (ran.stdout + ran.stderr).splitlines(keepends=True)
    return "".join(line for line in said if not FALSE_ERROR.search(line))
