"""Before results are sent: do they still name the patient, study and order that their destination has the images under?

What we were told ourselves since they were made counts first; then the destination is asked. It is asked once for the
parcels of a study, for a limited time, and what does not fit is looked at again before anything is done about it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping

from dicom_node.archive import parcel_checks
from dicom_node.archive.own_objects import Desk
from dicom_node.archive.parcel_checks import Check
from dicom_node.archive.parcels import Parcels
from dicom_node.archive.reissues import Reissue, reissue
from dicom_node.delivery.backoff import pause_s
from dicom_node.delivery.destination import Destinations
from dicom_node.domain.parcel import Parcel, Purpose
from dicom_node.domain.record import NO_CHANGES, Match, StudyRecord, Subject, Verdict, judge
from dicom_node.errors import DicomNodeError, InputError, PeerError
from dicom_node.settings import PeerSettings, Settings

log = logging.getLogger(__name__)

MOST_DOUBTS = 3  # looks at a record that does not fit, before that counts
_REMEMBERED_S = 10.0
_AGAIN_S = 0.5  # an answer this old is no second look
_MOST_REMEMBERED = 1000
_AWAY = ("refused", "no-answer", "unknown-host", "unreachable", "tls", "tls-certificate")  # sending will tell the same

Answer = tuple[StudyRecord, ...] | PeerError | None


class Recheck:
    """For any number of lanes."""

    def __init__(
        self,
        settings: Settings,
        parcels: Parcels,
        destinations: Destinations,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = parcels.database
        self._destinations = destinations
        self._desk = Desk.of(settings)
        self._understand_notes = frozenset(peer.name for peer in settings.peers if peer.rejection_notes)
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: dict[tuple[str, str, str], tuple[float, Answer]] = {}

    def may_go(self, parcel: Parcel, peer: PeerSettings) -> bool:
        """Whether a parcel is to be sent as it is; otherwise it was put off, held, cancelled, or written anew."""
        if parcel.purpose is None or not parcel.artifacts or not parcel.missing:
            return True
        try:
            check = parcel_checks.check_of(self._database, parcel, peer.ae_title)
            if check.divided and not _takes_back(parcel):
                words = "its images were moved into several studies, or to several patients"
                return self._hold(parcel, "corrected", words, Verdict(Match.CONTRADICTORY, words).difference)
            if check.told is not None and not check.divided:
                return self._reissue(parcel, check, check.told, "patient, study or order were corrected", "", None)
            return self._asked(parcel, peer, check)
        except InputError as error:
            if error.reason != "unreadable-file":
                raise
            return True  # sending tells it, and is tried again

    def _asked(self, parcel: Parcel, peer: PeerSettings, check: Check) -> bool:
        if not peer.is_checked:
            words = "a folder keeps no record that could be asked" if peer.kind == "folder" else "not asked"
            parcel_checks.note(self._database, parcel.id, words)
            return True
        answer = self._ask(peer, check.subject, doubtful=check.doubts > 0)
        if isinstance(answer, PeerError):
            return self._untold(parcel, peer, check, answer)
        verdict = judge(check.subject, answer or (), peer.changes or NO_CHANGES)
        if verdict.match in (Match.SAME, Match.UNKNOWN) or verdict.difference == parcel.cleared:
            known = any(record.images for record in answer or ())
            parcel_checks.note(self._database, parcel.id, verdict.words, known=known)
            return True
        return self._unlike(parcel, peer, check, verdict)

    def _ask(self, peer: PeerSettings, subject: Subject, *, doubtful: bool) -> Answer:
        digest = hashlib.sha256("\n".join(sorted(subject.wanted)).encode()).hexdigest()
        key = (peer.name, subject.study_uid, digest)
        now = self._clock()
        with self._lock:
            asked_at, answer = self._remembered.get(key, (None, None))
        if asked_at is not None and now - asked_at < (_AGAIN_S if doubtful else _REMEMBERED_S):
            return answer
        try:
            within_s = self._settings.delivery.check_seconds
            answer = self._destinations[peer.kind].records(peer, subject, within_s)
        except PeerError as error:
            answer = error
        with self._lock:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = self._clock(), answer
        return answer

    def _untold(self, parcel: Parcel, peer: PeerSettings, check: Check, error: PeerError) -> bool:
        words = f"{peer.name} could not be asked how it has the images: {error.message}"
        verdict = Verdict(Match.UNTOLD, words)
        goes = peer.on_silence == "send" or _takes_back(parcel) or error.reason in _AWAY
        if goes or Verdict(Match.UNTOLD, "").difference == parcel.cleared:
            parcel_checks.note(self._database, parcel.id, words)
            return True
        if check.doubts + 1 < MOST_DOUBTS:
            return self._doubt(parcel, check, "record-untold", words)
        return self._hold(parcel, "record-untold", verdict.words, Verdict(Match.UNTOLD, "").difference)

    def _unlike(self, parcel: Parcel, peer: PeerSettings, check: Check, verdict: Verdict) -> bool:
        words = f"{peer.name}: {verdict.words}"
        never = verdict.match is Match.GONE and not verdict.partly and check.sent_by_it
        if never:
            looks_by = self._destinations[peer.kind].looks_by
            words = f"{peer.name} sent us these images, and its answer to {looks_by} shows none of them"
        reason = _REASONS[verdict.match]
        rule = self._settings.rule(check.rule)
        gone = verdict.match is Match.GONE
        wanted: str = (rule and (rule.on_gone if gone else rule.on_difference)) or (
            peer.on_gone if gone else peer.on_difference
        )
        anew = wanted == "reissue" and bool(verdict.corrections)
        if (wanted == "send" and verdict.match is not Match.CONTRADICTORY) or (_takes_back(parcel) and not anew):
            parcel_checks.note(self._database, parcel.id, words)
            return True
        if check.doubts + 1 < MOST_DOUBTS:
            return self._doubt(parcel, check, reason, words)
        if anew:
            values = {**check.corrected, **verdict.corrections}
            return self._reissue(parcel, check, values, words, peer.name, (peer.name,))
        if wanted == "cancel" and not verdict.partly:
            error = PeerError(words, reason=reason, remedy=f"dicom-node studies show {parcel.study_uid}")
            parcel_checks.cancel(self._database, parcel.id, error)
            log.warning("parcel %d is cancelled: %s", parcel.id, reason)
            return False
        return self._hold(
            parcel, reason, words, verdict.difference, _NEVER_SHOWN.format(peer=peer.name) if never else ""
        )

    def _reissue(
        self,
        parcel: Parcel,
        check: Check,
        values: Mapping[str, str],
        reason: str,
        source: str,
        destinations: tuple[str, ...] | None,
    ) -> bool:
        wanted = Reissue(check.set_id, values, reason, source or "identity events", destinations)
        try:
            made = reissue(self._database, self._desk, wanted, self._understand_notes, "courier")
        except (DicomNodeError, OSError) as error:
            told = error.message if isinstance(error, DicomNodeError) else str(error)
            self._doubt(parcel, check, "not-reissued", f"it has to be written anew, and cannot be: {told}")
            return False
        log.warning("parcel %d: its objects are written anew, as result set %s", parcel.id, made)
        return False

    def _doubt(self, parcel: Parcel, check: Check, reason: str, words: str) -> bool:
        delivery = self._settings.delivery
        pause = pause_s(check.doubts + 1, delivery.first_pause_seconds, delivery.longest_pause_seconds)
        error = PeerError(words, reason=reason, remedy="it is asked again by itself")
        parcel_checks.doubt(self._database, parcel.id, error, pause)
        log.info("parcel %d waits: %s", parcel.id, reason)  # identifiers stand in the ledger alone
        return False

    def _hold(self, parcel: Parcel, reason: str, words: str, difference: str, first: str = "") -> bool:
        if difference == parcel.cleared:
            return True
        error = PeerError(
            words,
            reason=reason,
            remedy=f"{first}correct it there, then: dicom-node parcels retry {parcel.id}; or have it sent as it is: "
            f"dicom-node parcels release {parcel.id}",
        )
        parcel_checks.hold(self._database, parcel.id, error, difference)
        log.warning("parcel %d is held: %s", parcel.id, reason)
        return False


def _takes_back(parcel: Parcel) -> bool:
    """Whether it withdraws a result, which is never held: the result may harm where it is."""
    return parcel.purpose is Purpose.WITHDRAWAL


_NEVER_SHOWN = (
    "if {peer} never shows what it sends, as a modality or router does, or where another AE title answers queries, set "
    "check = false in its entry; if they were deleted or moved there, "
)
_REASONS = {
    Match.DIFFERENT: "record-differs",
    Match.CONTRADICTORY: "record-contradictory",
    Match.GONE: "images-gone",
}
