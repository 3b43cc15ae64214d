"""``up``, ``serve`` and ``worker``: the processes of a node."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dicom_node.settings import Configuration, Settings
    from dicom_node.supervisor import Program

CONFIGURATION_VARIABLE = "DICOM_NODE_CONFIG"
ACCEPTOR_PULSE_S = 15.0  # it beats every second; senders of one that is frozen wait so long, and then come again


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("up")(up)
    app.command("serve")(serve)
    app.command("worker")(worker)
    app.command("run-acceptor", hidden=True)(run_acceptor)
    app.command("run-node", hidden=True)(run_node)


def up(context: typer.Context) -> None:
    """Run everything on this machine: broker, acceptor, node with its pages, and a worker per device."""
    raise typer.Exit(_supervise(_configuration(context), workers=True))


def serve(context: typer.Context) -> None:
    """Run the node without workers: acceptor, stages, pages, and the embedded broker if one is set."""
    raise typer.Exit(_supervise(_configuration(context), workers=False))


def worker(
    context: typer.Context,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0 …")] = "auto",
    labels: Annotated[str, typer.Option(help="What rules and models may ask of a worker, such as: large,site-b")] = "",
) -> None:
    """Run one worker on this machine."""
    configuration = _configuration(context)
    os.environ.update(_environment(configuration))
    os.execv(sys.executable, [sys.executable, "-m", "workers", "run", "--device", device, "--labels", labels])  # noqa: S606


def run_acceptor(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Of its folder in the file store; each has its own.")] = "a0",
) -> None:
    """A process that listens for DICOM associations."""
    from dicom_node.archive.places import Places, only_process
    from dicom_node.reception.acceptor import run_acceptor as accept

    settings = _configuration(context).settings
    log_to("acceptor" if name == "a0" else f"acceptor-{name}", settings)
    # The lock lies beside the objects, which several nodes may share.
    folder = Places(settings.node.data_dir).objects / name
    with only_process(settings.node.data_dir, f"acceptor {name}", folder=folder):
        accept(settings, name, stop_on_signals())


def run_node(context: typer.Context) -> None:
    """The process of the stages and the pages."""
    from dicom_node.archive.places import only_process
    from dicom_node.cli.live import follow
    from dicom_node.node import Node

    configuration = _configuration(context)
    log_to("node", configuration.settings)
    stop = stop_on_signals()
    with only_process(configuration.settings.node.data_dir, "node"):
        node = Node(configuration)
        watcher = threading.Thread(target=follow, args=(node.database, stop), name="live", daemon=True)
        watcher.start()
        node.run(stop)


def _configuration(context: typer.Context) -> Configuration:
    from dicom_node.settings import load

    return load(context.obj)


def _supervise(configuration: Configuration, *, workers: bool) -> int:
    from dicom_node.supervisor import Supervisor

    log_to("supervisor", configuration.settings)
    return Supervisor(programs(configuration, workers=workers)).run()


def programs(configuration: Configuration, *, workers: bool) -> list[Program]:
    """The processes of a node, in the order in which they start."""
    from dicom_node.archive.places import Places
    from dicom_node.jobs.broker import embedded_command
    from dicom_node.supervisor import Program

    settings = configuration.settings
    environment = _environment(configuration)
    places = Places(settings.node.data_dir)
    found = []
    broker = embedded_command(settings)
    if broker:
        found.append(Program("broker", broker, ready=places.broker.exists))
    this = [sys.executable, "-m", "dicom_node.cli.main"]
    if configuration.source.file:
        this += ["--config", str(configuration.source.file)]
    # The node reads rules and models and brings the ledger up to date: nothing else starts before that went well.
    found.append(Program("node", [*this, "run-node"], environment, ready=lambda: _listens(places.hints)))
    begin = f"{settings.node.name}-" if settings.node.name else ""
    for name in (f"{begin}a{number}" for number in range(settings.node.acceptors)):
        accept = [*this, "run-acceptor", "--name", name]
        found.append(Program(f"acceptor {name}", accept, environment, pulse_s=ACCEPTOR_PULSE_S))
    if settings.ehr.hl7 is not None or any(server.sync_minutes or server.export for server in settings.ehr.servers):
        found.append(Program("sidecar ehr", [*this, "sidecar", "ehr"], environment))
    if workers:
        found += _worker_programs(settings, environment)
    return found


def _worker_programs(settings: Settings, environment: dict[str, str]) -> list[Program]:
    from dicom_node.supervisor import Program

    command = [sys.executable, "-m", "workers", "run", "--device"]
    return [Program(f"worker {device}", [*command, device], environment) for device in settings.worker.devices]


def _listens(place: Path) -> bool:
    """Whether a process receives datagrams there; a socket that a dead one left does not count."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(place))
        except OSError:
            return False
    return True


def _environment(configuration: Configuration) -> dict[str, str]:
    file = configuration.source.file
    return {CONFIGURATION_VARIABLE: str(file)} if file else {}


def log_to(process: str, settings: Settings) -> None:
    """Write this process's log to a file of its name."""
    from dicom_node import logs
    from dicom_node.archive.places import Places

    logs.configure(process, file=Places(settings.node.data_dir).logs / f"{process}.jsonl")


def stop_on_signals() -> threading.Event:
    """Set when the process is told to end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
