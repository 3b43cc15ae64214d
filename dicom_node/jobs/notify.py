"""The notifier: where a result is missing or late, those whom the rule names are told, by an object in the study."""

from __future__ import annotations

import logging

from dicom_node.archive import notices
from dicom_node.archive.database import Database
from dicom_node.archive.notices import Wanting
from dicom_node.archive.own_objects import Desk
from dicom_node.errors import DicomNodeError
from dicom_node.settings import RuleSettings, Settings

log = logging.getLogger(__name__)

_BY = "notifier"


class Notifier:
    """One pass writes the notices that are wanted. Harmless if doubled."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._desk = Desk.of(settings)
        self._told = {rule.name: told_by(rule) for rule in settings.rules if told_by(rule)}
        self._hopeless: set[int] = set()  # jobs whose images cannot be read; said once

    def tick(self) -> int:
        """Returns how many notices were written."""
        if not self._told:
            return 0
        return sum(self._issue(found) for found in notices.wanting(self._database, self._told))

    def _issue(self, found: Wanting) -> bool:
        try:
            issued = notices.issue(self._database, self._desk, found, self._told[found.rule], _BY)
        except DicomNodeError as error:
            if found.job_id not in self._hopeless:
                log.error("no notice of job %d can be written: %s", found.job_id, error)
            self._hopeless.add(found.job_id)
            return False
        if issued:
            log.info("job %d: a notice goes to %s", found.job_id, ", ".join(self._told[found.rule]))
        return issued


def told_by(rule: RuleSettings) -> tuple[str, ...]:
    """Names of the peers that a rule has told when there is no result; of stat and urgent rules its destinations."""
    if rule.on_no_result is not None:
        return rule.on_no_result
    return rule.send_to if rule.priority in ("stat", "urgent") else ()
