"""The kinds of destinations there are, by ``kind`` of a peer's entry."""

from __future__ import annotations

from dicom_node.delivery.cstore import DicomDestination
from dicom_node.delivery.destination import Destinations
from dicom_node.delivery.folder import FolderDestination
from dicom_node.peer_settings import TOLD
from dicom_node.settings import Settings


def kinds_of_destinations(settings: Settings) -> Destinations:
    """One of each kind that the settings may need; HTTP's library is loaded only where a peer speaks it."""
    kinds: Destinations = {"dicom": DicomDestination(settings), "folder": FolderDestination()}
    if any(peer.kind == "dicomweb" for peer in settings.peers):
        from dicom_node.delivery.dicomweb import WebDestination

        kinds = {**kinds, "dicomweb": WebDestination(settings)}
    if any(peer.kind in TOLD for peer in settings.peers):
        from dicom_node.delivery.told import FhirDestination, Hl7Destination

        kinds = {**kinds, "fhir": FhirDestination(settings), "hl7": Hl7Destination(settings)}
    return kinds
