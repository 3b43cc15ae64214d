"""What a door that speaks messages other than C-STORE must offer to the acceptor."""

from __future__ import annotations

from typing import Any, Protocol

from pynetdicom.presentation import PresentationContext


class MessageService(Protocol):
    """Serves messages that pynetdicom decodes, such as N-ACTION. Called from a thread per association."""

    def contexts(self, calling_ae: str) -> list[PresentationContext]:
        """The presentation contexts it serves for a peer; none for one that may not use it."""

    def attach(self, association: Any) -> None:
        """An association was admitted (a ``StreamingAssociation``); bind what is to be called for its messages."""
