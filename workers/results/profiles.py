"""Which profiles findings can be told in, and which of them each destination gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dicom_node.domain.contract import ModelContract
from dicom_node.domain.finding import Findings
from dicom_node.domain.profile import Companion, Profile, companions_of, first_of, order_of
from dicom_node.settings import Settings
from workers.results.planes import overlap


@dataclass(frozen=True, slots=True)
class Choice:
    """What is encoded at once, and who gets what."""

    profile: Profile  # of the set that is handed in
    of: Mapping[str, str]  # destination -> its profile; empty: none of those it takes
    beside: tuple[Profile, ...]  # encoded at once, too, since it cannot be later
    companions: tuple[Companion, ...]  # what is encoded beside each of them
    manifest: Mapping[str, Any]  # what the ledger keeps of it: what is possible, and what the model asks for


def possible(findings: Findings) -> tuple[Profile, ...]:
    """The profiles that say all of the findings, the one that suits most destinations first."""
    if not findings.segments:
        return (Profile.BINARY,)
    told = all(segment.number in findings.probabilities for segment in findings.segments)
    label_map = () if overlap(findings) else (Profile.LABELMAP,)
    return (Profile.BINARY, *label_map, *((Profile.FRACTIONAL,) if told else ()))


def choose(
    findings: Findings,
    contract: ModelContract,
    destinations: Sequence[str],
    settings: Settings,
    refused: Mapping[str, Collection[Profile]] = MappingProxyType({}),
) -> Choice:
    """The profile that most destinations get is encoded by the worker that has the findings; others later.

    What a destination has ``refused`` lately it gets only where nothing else is left. Probabilities are kept by no one
    but a FRACTIONAL Segmentation, and label maps cannot be read again from that one: where a destination may come to
    get it, it is encoded at once, and BINARY beside it.
    """
    can = possible(findings)
    asked = Profile(contract.encoding.lower()) if contract.encoding else None
    told, orders = {}, set[Profile]()
    for name in destinations if findings.segments else ():  # else there is no Segmentation that anybody could refuse
        peer = settings.peer(name)
        order = order_of(peer.profiles if peer else (), asked)
        told[name] = first_of(order, can, refused.get(name, ())) or first_of(order, can)
        orders.update(order)
    counts = Counter(profile for profile in told.values() if profile is not None)
    fallback = first_of(order_of((), asked), can) or Profile.BINARY
    most = counts.most_common(1)[0][0] if counts else fallback
    fractional = Profile.FRACTIONAL in can and Profile.FRACTIONAL in (most, *orders)
    needed = (Profile.FRACTIONAL, Profile.BINARY) if fractional else ()
    peers = [settings.peer(name) for name in destinations]
    wanted = {each for peer in peers for each in (peer.companions if peer else companions_of(()))}
    beside = tuple(each for each in Companion if each in wanted)
    later = [profile for profile in can if fractional or profile is not Profile.FRACTIONAL]
    return Choice(
        profile=most,
        of={name: str(profile or "") for name, profile in told.items()},
        beside=tuple(profile for profile in needed if profile is not most),
        companions=beside,
        manifest={
            "possible": [str(profile) for profile in later],
            "asked": asked and str(asked),
            "companions": [str(each) for each in beside],
        },
    )
