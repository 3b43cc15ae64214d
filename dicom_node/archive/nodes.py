"""Several nodes on one ledger: who takes part, and whose turn it is.

Nodes share the ledger, the broker, and the folders ``objects`` and ``results``; each has a name, with which those of
its acceptors' folders begin. Every write of a stage is conditional, so a stage may run in several nodes at once. Those
that talk to peers take turns all the same: two couriers would send everything twice.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.archive.database import Database, db_later, db_now
from dicom_node.archive.files import make_folder
from dicom_node.archive.places import Places
from dicom_node.archive.processes import SEEN_WITHIN_S, Process, Processes, alive, this_process
from dicom_node.archive.schema import turn
from dicom_node.errors import ConfigurationError
from dicom_node.settings import NodeSettings

log = logging.getLogger(__name__)

TURN_S = 15.0  # a node that is gone is replaced after so long
RENEW_S = TURN_S / 3
ASK_AGAIN_S = 1.0
TELL_EVERY_S = 5.0
PATIENCE_S = SEEN_WITHIN_S + 2 * TELL_EVERY_S  # for a node of our name that died on another machine


class Turn:
    """Whose turn a piece of work is, ruled by the ledger's clock. For one thread."""

    def __init__(self, database: Database, name: str, owner: str | None = None) -> None:
        self._database = database
        self._name = name
        self._owner = owner or this_process()
        self._ours = False
        self._ask_at = 0.0  # monotonic

    def ours(self) -> bool:
        """Whether this process does the work now.

        Raises:
            LedgerError: the ledger cannot be asked.
        """
        now = time.monotonic()
        if now >= self._ask_at:
            self._ours = False
            self._ours = self._take()
            self._ask_at = now + (RENEW_S if self._ours else ASK_AGAIN_S)
        return self._ours

    def release(self) -> None:
        """Let another node go on at once."""
        if self._ours:
            self._ours, self._ask_at = False, 0.0
            with self._database.write() as connection:
                connection.execute(delete(turn).where(turn.c.name == self._name, turn.c.owner == self._owner))

    def _take(self) -> bool:
        values: dict[str, Any] = {"owner": self._owner, "until": db_later(TURN_S)}
        free = and_(turn.c.name == self._name, or_(turn.c.owner == self._owner, turn.c.until < db_now()))
        try:
            with self._database.write() as connection:
                if connection.execute(update(turn).where(free).values(**values)).rowcount == 1:
                    return True
                if connection.execute(select(turn.c.name).where(turn.c.name == self._name)).first() is not None:
                    return False
                connection.execute(insert(turn).values(name=self._name, **values))
                return True
        except IntegrityError:
            return False  # another node was faster


@dataclass(frozen=True, slots=True)
class _Told:
    """What a node says of itself."""

    node: str
    ae_title: str
    address: str
    store: str  # of the folder of objects


class Membership:
    """This node among those of its ledger."""

    def __init__(self, database: Database, settings: NodeSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._processes = Processes(database)
        self._me = this_process()
        self._told = _Told(
            settings.name, settings.ae_title, f"{settings.host}:{settings.port}", store_id(settings.data_dir)
        )
        self._clock = clock

    def enter(self, patience_s: float = PATIENCE_S) -> None:
        """Take part. A node of the same name that has just died is waited for.

        Raises:
            ConfigurationError: a node of the same name works on this ledger, or one that keeps its objects elsewhere.
        """
        deadline = self._clock() + patience_s
        while (twin := self._twin()) is not None:
            if self._clock() > deadline:
                raise _same_name(twin)
            time.sleep(ASK_AGAIN_S)
        for other in self._others():
            said = _said(other)
            if said.store != self._told.store:
                raise _other_store(said, other)
            if said.ae_title == self._told.ae_title:
                log.warning(
                    "node %r (%s) and this one (%s) both are %s: right only where peers reach both at one address",
                    said.node,
                    said.address,
                    self._told.address,
                    said.ae_title,
                )
        self._register()

    def tell(self) -> None:
        """This node lives."""
        if self._processes.seen([self._me], idle=False) == 0:
            self._register()

    def leave(self) -> None:
        """It ends."""
        self._processes.forget([self._me])

    def _register(self) -> None:
        told = self._told
        detail = {"node": told.node, "ae_title": told.ae_title, "address": told.address, "store": told.store}
        self._processes.register(self._me, detail, kind="node")

    def _others(self) -> list[Process]:
        return [each for each in nodes(self._processes) if each.name != self._me and alive(each.name)]

    def _twin(self) -> Process | None:
        return next((each for each in self._others() if _said(each).node == self._told.node), None)


def nodes(processes: Processes) -> list[Process]:
    """The nodes that were seen lately."""
    return [each for each in processes.all() if each.kind == "node" and each.present]


def store_id(data_dir: Path) -> str:
    """What tells one folder of objects from another; written at the first start."""
    file = Places(data_dir).objects / ".store"
    make_folder(file.parent)
    try:
        with file.open("x") as made:
            made.write(uuid.uuid4().hex)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"the data directory {data_dir} cannot be written: {error.strerror}",
            key="node.data_dir",
            remedy="give it to the user that runs the node, or choose another",
        ) from error
    return file.read_text()


def _said(process: Process) -> _Told:
    return _Told(**{key: str(process.detail.get(key, "")) for key in _Told.__slots__})


def _same_name(twin: Process) -> ConfigurationError:
    name = _said(twin).node
    return ConfigurationError(
        f"{twin.name} at {_said(twin).address} is already the node {name!r} of this ledger"
        if name
        else f"{twin.name} at {_said(twin).address} already works on this ledger",
        key="node.name",
        reason="node-name-in-use",
        remedy="stop it, or give each node on a ledger a node.name of its own",
    )


def _other_store(said: _Told, other: Process) -> ConfigurationError:
    return ConfigurationError(
        f"node {said.node!r} ({other.name}) of this ledger keeps its objects in another folder than this one",
        key="node.data_dir",
        reason="other-store",
        remedy="mount the same shared folders as objects and results of each node's data directory",
    )
