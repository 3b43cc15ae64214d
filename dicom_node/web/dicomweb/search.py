"""QIDO-RS: which studies, series and instances there are (PS3.18 10.6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from dicom_node.archive.dicom_json import Model, dictionary_vr, element, of_plain, resolved
from dicom_node.archive.holdings import Held, HeldSeries, HeldStudy, Holdings
from dicom_node.archive.models import Models
from dicom_node.errors import HeaderError, NotDicomError
from dicom_node.web.dicomweb.query import MANDATORY, OF_STUDY, SERIES_UID, SOP_UID, STUDY_UID, WHERE_KNOWN, Level, Query

MOST_READ = 20_000  # files of one search
_COUNTED = frozenset(("00080056", "00080061", "00080062", "00081190", "00201206", "00201208", "00201209", "00083002"))
_UNREADABLE = (NotDicomError, HeaderError, OSError)


class TooWideError(Exception):
    """The search would have to read more files than one search may."""


@dataclass(slots=True)
class Search:
    """One search, answered from ledger and files."""

    holdings: Holdings
    models: Models
    query: Query
    base: str  # the address of the service
    read: int = 0  # files that were looked into

    def matches(self) -> list[Model]:
        """The matches of the page that was asked for.

        Raises:
            TooWideError: too many files would have to be read.
        """
        found = {
            Level.STUDY: self._studies,
            Level.SERIES: self._series,
            Level.INSTANCE: self._instances,
        }[self.query.level]()
        return list(islice(found, self.query.offset, self.query.offset + self.query.limit))

    def _owners(self) -> Iterator[tuple[HeldStudy, Model]]:
        """Studies that match, with what they are matched by."""
        if self.query.limit == 0:
            return
        for owner in self.holdings.studies(self.query.narrowing):
            model = self._of_study(owner)
            if all(key.matches(model) for key in self.query.of_study):
                yield owner, model

    def _studies(self) -> Iterator[Model]:
        for place, (owner, model) in enumerate(self._owners()):
            # Of those before the page nobody wants to know more.
            yield self._answer(model, owner.series[0].first, Level.STUDY) if place >= self.query.offset else {}

    def _series(self) -> Iterator[Model]:
        for owner, above in self._owners():
            for held in owner.series:
                model = self._of_series(held)
                if all(key.matches(model) for key in self.query.others):
                    yield self._answer({**self._inherited(above), **model}, held.first, Level.SERIES)

    def _instances(self) -> Iterator[Model]:
        chosen = frozenset(uid for key in self.query.others if key.tag == SERIES_UID for uid in key.uids)
        named = frozenset(uid for key in self.query.others if key.tag == SOP_UID for uid in key.uids)
        for owner, above in self._owners():
            for held in owner.series:
                if chosen and held.series_uid not in chosen:
                    continue
                for thing in self.holdings.objects(owner.study_uid, held.series_uid):
                    if named and thing.sop_uid not in named:
                        continue
                    model = self._of_instance(thing)
                    if all(key.matches(model) for key in self.query.others):
                        yield self._answer({**model, **self._inherited(above)}, "", Level.INSTANCE)

    def _inherited(self, above: Model) -> Model:
        """What a series or an instance tells of its study (PS3.18 10.6.3.3: where the address does not name it)."""
        return {tag: value for tag, value in above.items() if tag not in _COUNTED} if not self._in_study() else {}

    def _in_study(self) -> bool:
        return any(key.tag == STUDY_UID and len(key.uids) == 1 for key in self.query.of_study)

    def _of_study(self, owner: HeldStudy) -> Model:
        model = of_plain(owner.attributes)
        if not owner.attributes:  # of images that plan no jobs the ledger keeps nothing by study
            first = self._read(owner.series[0].first)
            model = {tag: value for tag, value in first.items() if tag in OF_STUDY}
        modalities = sorted({held.modality for held in owner.series if held.modality})
        return {
            **model,
            STUDY_UID: element("UI", [owner.study_uid]),
            "00080056": element("CS", ["ONLINE"]),
            "00080061": element("CS", modalities),
            "00081190": element("UR", [f"{self.base}/studies/{owner.study_uid}"]),
            "00201206": element("IS", [len(owner.series)]),
            "00201208": element("IS", [sum(held.instances for held in owner.series)]),
        }

    def _of_series(self, held: HeldSeries) -> Model:
        model = of_plain(held.attributes) if held.attributes else self._read(held.first)
        return {
            **model,
            STUDY_UID: element("UI", [held.study_uid]),
            SERIES_UID: element("UI", [held.series_uid]),
            "00081190": element("UR", [f"{self.base}/studies/{held.study_uid}/series/{held.series_uid}"]),
            "00201209": element("IS", [held.instances]),
        }

    def _of_instance(self, held: Held) -> Model:
        place = f"{self.base}/studies/{held.study_uid}/series/{held.series_uid}/instances/{held.sop_uid}"
        return {
            **self._read(held.path),
            STUDY_UID: element("UI", [held.study_uid]),
            SERIES_UID: element("UI", [held.series_uid]),
            "00080016": element("UI", [held.sop_class]),
            SOP_UID: element("UI", [held.sop_uid]),
            "00080056": element("CS", ["ONLINE"]),
            "00081190": element("UR", [place]),
            "00083002": element("UI", [held.transfer_syntax]),
        }

    def _answer(self, model: Model, first: str, level: Level) -> Model:
        """What is told of a match: what must be, and what was asked for besides."""
        relational = level is not Level.STUDY and not self._in_study()
        must = set(MANDATORY[level]) | (set(MANDATORY[Level.STUDY]) - _COUNTED if relational else set())
        if level is Level.INSTANCE and not any(key.tag == SERIES_UID for key in self.query.others):
            must |= set(MANDATORY[Level.SERIES]) - _COUNTED
        known = {*WHERE_KNOWN[level], *self.query.fields, *(key.tag for key in self.query.others)}
        known |= {key.tag for key in self.query.of_study} if relational or level is Level.STUDY else set()
        if first and not (must | known) <= model.keys():
            model = {**{tag: value for tag, value in self._read(first).items() if self._belongs(tag, level)}, **model}
        model = {**model, "00080005": element("CS", ["ISO_IR 192"])}
        wanted = model.keys() if self.query.all_fields else (must | known) & model.keys()
        told = {
            tag: _without_bulk(model[tag]) for tag in wanted if self.query.all_fields or "BulkDataURI" not in model[tag]
        }
        told = {tag: value for tag, value in told.items() if "BulkDataURI" not in value}
        told |= {tag: {"vr": resolved(dictionary_vr(int(tag, 16)), signed=False)} for tag in must - told.keys()}
        return dict(sorted(told.items()))

    def _belongs(self, tag: str, level: Level) -> bool:
        """Whether what one object says of an attribute may be told of its study."""
        return level is not Level.STUDY or tag in OF_STUDY or tag in self.query.fields

    def _read(self, path: str) -> Model:
        self.read += 1
        if self.read > MOST_READ:
            raise TooWideError
        try:
            return self.models.model(path)
        except _UNREADABLE:
            return {}  # its file is damaged or gone; the ledger's own knowledge is told


def as_json(matches: Iterable[Model]) -> bytes:
    """Matches as DICOM JSON."""
    return json.dumps(list(matches), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _without_bulk(value: Model) -> Model:
    """An attribute without values that only an instance's own address could name."""
    if value.get("vr") != "SQ":
        return value
    items = [
        {tag: _without_bulk(inner) for tag, inner in item.items() if "BulkDataURI" not in inner}
        for item in value.get("Value", ())
    ]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
