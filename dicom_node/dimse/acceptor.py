"""Listens for associations and registers services for them."""

from __future__ import annotations

import errno
import logging
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.presentation import build_context
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from dicom_node.dimse import contexts
from dicom_node.dimse.admission import refusal
from dicom_node.dimse.inbound import InboundAssociation, StoreService
from dicom_node.dimse.services import MessageService
from dicom_node.dimse.streaming import StreamingAssociation, StreamingSocket
from dicom_node.domain.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import ConfigurationError
from dicom_node.settings import NodeSettings, Settings

LOGGER = logging.getLogger(__name__)


class Acceptor:
    """Accepts associations on ``node.host``:``node.port``: C-ECHO, C-STORE for the store service, what others speak."""

    def __init__(self, settings: Settings, service: StoreService, others: Sequence[MessageService] = ()) -> None:
        self._settings = settings
        self._service = service
        self._others = tuple(others)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and listen; serves in threads of its own.

        Raises:
            ConfigurationError: the address cannot be bound; says why.
        """
        node = self._settings.node
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom would format every message for a log nobody reads
        logging.getLogger("pynetdicom").setLevel(logging.WARNING)
        try:
            self._server = _Server(_application_entity(node), self._settings, self._service, self._others)
        except OSError as error:
            raise _cannot_bind(node, error) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="dimse-acceptor", daemon=True)
        self._thread.start()
        LOGGER.info("listening as %s on %s:%d", node.ae_title, node.host, node.port)

    def alive(self) -> bool:
        """Whether it still accepts associations."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, patience_s: float = 5.0) -> None:
        """Accept no more, let objects under way finish for ``patience_s`` at most, then abort what is left."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        deadline = time.monotonic() + patience_s
        while any(association.dul.receiving for association in server.associations()) and time.monotonic() < deadline:
            time.sleep(0.01)
        remaining = server.associations()
        for association in remaining:
            association.abort(block=False)
        for association in remaining:
            association.join(max(0.1, deadline - time.monotonic()))


class _Handler(RequestHandler):  # type: ignore[misc]
    """Builds the association of one connection."""

    def _create_association(self) -> StreamingAssociation:
        server: _Server = self.server
        association = StreamingAssociation(self.ae, MODE_ACCEPTOR)
        association._server = server
        association.name = f"AcceptorThread@{secrets.token_hex(8)}"  # pynetdicom counts associations by this name
        association.service = server.service
        association.set_socket(StreamingSocket(association, self.request))
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
    """The listening socket."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(
        self, ae: AE, settings: Settings, service: StoreService, others: Sequence[MessageService] = ()
    ) -> None:
        self.settings = settings
        self.service = service
        self.others = others
        node = settings.node
        address = AddressInformation.from_addr_port(node.host, node.port).as_tuple
        super().__init__(ae, address, node.ae_title, [build_context(contexts.VERIFICATION)], request_handler=_Handler)
        ae._servers.append(self)

    def associations(self) -> list[StreamingAssociation]:
        """Those that are running."""
        return list(self.active_associations)

    def on_requested(self, event: Any) -> None:
        """Admit or reject an association, and settle what it may send."""
        association: StreamingAssociation = event.assoc
        request = association.requestor.primitive
        calling, called = str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()
        peer = str(association.requestor.address_info.address)
        rejection = refusal(self.settings, calling, called)
        if rejection is not None:
            LOGGER.warning("rejected %s at %s: %s; %s", calling, peer, rejection.reason, rejection.remedy)
            association.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
            association.kill()
            return
        association.inbound = InboundAssociation(secrets.token_hex(8), calling, called, peer)
        supported = contexts.accepted(request.presentation_context_definition_list)
        for other in self.others:
            supported += other.contexts(calling)
            other.attach(association)
        association.acceptor.supported_contexts = supported

    def handle_error(self, request: Any, client_address: Any) -> None:
        LOGGER.exception("a connection from %s could not be taken", client_address)


def _application_entity(node: NodeSettings) -> AE:
    ae = AE(node.ae_title)
    ae.maximum_associations = node.maximum_associations
    ae.maximum_pdu_size = node.maximum_pdu_size
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return ae


def _cannot_bind(node: NodeSettings, error: OSError) -> ConfigurationError:
    place = f"{node.host}:{node.port}"
    if error.errno == errno.EADDRINUSE:
        why, remedy = "another program listens there", "stop it, or set another node.port"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "this user may not open ports below 1024"
        remedy = "set node.port to 11112, or allow it (setcap cap_net_bind_service, or run in a container)"
    elif isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        why, remedy = "this machine has no such address", 'set node.host to one of its addresses, or to "0.0.0.0"'
    else:
        why, remedy = error.strerror or str(error), "see node.host and node.port"
    return ConfigurationError(f"cannot listen on {place}: {why}", key="node.port", reason="cannot-bind", remedy=remedy)
