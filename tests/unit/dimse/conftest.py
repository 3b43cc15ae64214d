"""The node that the tests of associations talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from listening import Memory, Node
from peers import free_port

from dicom_node.dimse.acceptor import Acceptor
from dicom_node.settings import NodeSettings, PeerSettings, Settings


@pytest.fixture
def node() -> Iterator[Node]:
    """Admits everybody; two associations at most."""
    port = free_port()
    settings = Settings(node=NodeSettings(host="127.0.0.1", port=port, unknown_peers="accept", maximum_associations=2))
    memory = Memory()
    acceptor = Acceptor(settings, memory)
    acceptor.start()
    yield Node(acceptor, memory, PeerSettings(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=port))
    acceptor.stop()
