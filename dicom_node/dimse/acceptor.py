"""Listens for associations and registers services for them."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from dicom_node.dimse import contexts
from dicom_node.dimse.admission import Caller, Rejection, admit, congested, full
from dicom_node.dimse.inbound import InboundAssociation, StoreService
from dicom_node.dimse.occupancy import Occupancy
from dicom_node.dimse.services import MessageService
from dicom_node.dimse.streaming import StreamingAssociation
from dicom_node.dimse.tls import server_context
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import ConfigurationError
from dicom_node.settings import NodeSettings, Settings

_CONNECTIONS_BESIDE = 100  # that have no association, beside those that have

LOGGER = logging.getLogger(__name__)


class Acceptor:
    """Accepts associations on ``node.port``, and over TLS on ``tls.port``.

    It answers C-ECHO, gives C-STORE to the store service, and what others speak to them.
    """

    def __init__(
        self,
        settings: Settings,
        service: StoreService,
        others: Sequence[MessageService] = (),
        shared: Path | None = None,
    ) -> None:
        """``shared``: the folder where several acceptors count associations together."""
        self._settings = settings
        self._shared = shared if settings.node.acceptors > 1 else None
        self._service = service
        self._others = tuple(others)
        self._servers: list[_Server] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Bind and listen; serves in threads of its own.

        Raises:
            ConfigurationError: an address cannot be bound, or the files of TLS are no good; says why.
        """
        node, tls = self._settings.node, self._settings.tls
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom would format every message for a log nobody reads
        logging.getLogger("pynetdicom").setLevel(logging.WARNING)
        context = server_context(tls)
        occupancy = Occupancy(self._settings, self._shared)
        if context is None or tls.port != node.port:
            self._listen("node.port", node.port, None, occupancy)
        if context is not None:
            self._listen("tls.port", tls.port, context, occupancy)

    def _listen(self, key: str, port: int, context: ssl.SSLContext | None, occupancy: Occupancy) -> None:
        node = self._settings.node
        try:
            server = _Server(port, self._settings, context, occupancy, self._service, self._others)
        except OSError as error:
            self.stop()
            raise _cannot_bind(key, node.host, port, error) from error
        thread = threading.Thread(target=server.serve_forever, name=f"dimse-acceptor-{port}", daemon=True)
        thread.start()
        self._servers.append(server)
        self._threads.append(thread)
        LOGGER.info(
            "listening as %s on %s:%d%s", node.ae_title, node.host, port, "" if context is None else " over TLS"
        )

    def alive(self) -> bool:
        """Whether it still accepts associations."""
        return bool(self._servers) and all(thread.is_alive() for thread in self._threads)

    def associations(self) -> list[StreamingAssociation]:
        """Connections that are open now, also those that have not asked for an association yet."""
        return [association for server in self._servers for association in server.active_associations]

    def stop(self, patience_s: float = 5.0) -> None:
        """Accept no more, let objects under way finish for ``patience_s`` at most, then abort what is left."""
        for server in self._servers:
            server.shutdown()
        deadline = time.monotonic() + patience_s
        while any(association.dul.receiving for association in self.associations()) and time.monotonic() < deadline:
            time.sleep(0.01)
        remaining = self.associations()
        for association in remaining:
            association.end()
        for association in remaining:
            association.join(max(0.1, deadline - time.monotonic()))
        self._servers.clear()


class _Handler(RequestHandler):  # type: ignore[misc]
    """Builds the association of one connection."""

    def _create_association(self) -> StreamingAssociation:
        server: _Server = self.server
        association = StreamingAssociation(self.ae, server.settings.node, self.request, server.occupancy.leave)
        association._server = server
        association.name = f"AcceptorThread@{association.id}"  # pynetdicom counts associations by this name
        association.service = server.service
        association.tls = server.tls
        association.acceptor.maximum_length = self.ae.maximum_pdu_size
        association.acceptor.ae_title = server.ae_title
        association.acceptor.address_info = self.local
        association.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        association.acceptor.implementation_version_name = self.ae.implementation_version_name
        association.acceptor.supported_contexts = [build_context(contexts.VERIFICATION)]
        association.requestor.address_info = self.remote
        association.bind(evt.EVT_REQUESTED, server.on_requested)
        return association


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """One listening socket."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        port: int,
        settings: Settings,
        tls: ssl.SSLContext | None,
        occupancy: Occupancy,
        service: StoreService,
        others: Sequence[MessageService],
    ) -> None:
        self.settings = settings
        self.tls = tls
        self.occupancy = occupancy
        self.service = service
        self.others = others
        node = settings.node
        address = AddressInformation.from_addr_port(node.host, port).as_tuple
        ae = _application_entity(node)
        super().__init__(ae, address, node.ae_title, [build_context(contexts.VERIFICATION)], request_handler=_Handler)
        ae._servers.append(self)

    def server_bind(self) -> None:
        if self.settings.node.acceptors > 1:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection may wait for its association request: those that never ask must not use us up."""
        most = self.settings.node.maximum_associations + _CONNECTIONS_BESIDE
        if len(self.active_associations) < most:
            return True
        LOGGER.warning("closed a connection from %s: %d are open", client_address[0], most)
        return False

    def on_requested(self, event: Any) -> None:
        """Admit or reject an association, and settle what it may send."""
        association: StreamingAssociation = event.assoc
        try:
            rejection = self._judge(association)
        except Exception:  # pynetdicom would admit it
            LOGGER.exception("the association request of %s could not be judged", association.caller)
            rejection = congested()
        if rejection is not None:
            LOGGER.warning("rejected %s: %s; %s", association.caller, rejection.reason, rejection.remedy)
            association.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
            association.kill()

    def _judge(self, association: StreamingAssociation) -> Rejection | None:
        request, connection = association.requestor.primitive, association.dul.socket
        caller = Caller(
            str(request.calling_ae_title).strip(),
            str(request.called_ae_title).strip(),
            str(association.requestor.address_info.address),
            secured=connection.secured,
            has_certificate=connection.has_certificate,
        )
        peer = admit(self.settings, caller)
        if isinstance(peer, Rejection):
            return peer
        why = self.service.full()
        if why:
            return full(why, "free some space; associations are taken again by themselves")
        rejection = self.occupancy.enter(association.id, peer)
        if rejection is not None:
            return rejection
        association.throttle = self.occupancy.throttle(peer)
        association.inbound = InboundAssociation(association.id, caller.calling_ae, caller.called_ae, caller.address)
        classes = peer.sop_classes if peer else ()
        supported = contexts.accepted(request.presentation_context_definition_list, classes)
        for other in self.others:
            supported += other.contexts(caller.calling_ae)
            other.attach(association)
        association.acceptor.supported_contexts = supported
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        LOGGER.exception("a connection from %s could not be taken", client_address)


def _application_entity(node: NodeSettings) -> AE:
    ae = AE(node.ae_title)
    ae.maximum_associations = 1 << 30  # counted by us: pynetdicom counts those that wait, too
    ae.maximum_pdu_size = node.maximum_pdu_size
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return ae


def _cannot_bind(key: str, host: str, port: int, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        why, remedy = "another program listens there", f"stop it, or set another {key}"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "this user may not open ports below 1024"
        remedy = f"set {key} to one above, or allow it (setcap cap_net_bind_service, or run in a container)"
    elif isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        why, remedy = "this machine has no such address", 'set node.host to one of its addresses, or to "0.0.0.0"'
    else:
        why, remedy = error.strerror or str(error), f"see node.host and {key}"
    return ConfigurationError(f"cannot listen on {host}:{port}: {why}", key=key, reason="cannot-bind", remedy=remedy)
