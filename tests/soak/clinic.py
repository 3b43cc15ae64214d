"""Studies on their way from the scanner to PACS and node, one after the other, whatever does not answer meanwhile."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from peers import storescu
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, generate_uid
from small_series import small_series, write, write_one
from soak.hospital import POISON, SLICES, Hospital
from sqlalchemy import func, select

from dicom_node.archive.schema import job, study
from dicom_node.domain.job import JobState
from dicom_node.errors import LedgerError

MOST_UNDER_WAY = 4  # studies; enough that there is always something to hit
PAUSE_S = 0.3
STATE_EVERY = 3  # each third study gets a presentation state when its results are there
POISONED = 2  # the number of the study on which the model dies
PATIENT = 5  # each fifth study is one for the rule that waits longer


@dataclass
class Clinic(threading.Thread):
    """Sends studies until it is told to stop, each until the node has acknowledged all of it."""

    hospital: Hospital
    images: dict[str, list[Dataset]] = field(default_factory=dict)  # study -> what was acknowledged
    poison: str = ""  # study
    states: set[str] = field(default_factory=set)  # SOP Instance UIDs of presentation states that came late
    refusals: int = 0  # sendings that did not go through

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self._owed: list[str] = []  # studies that are to get a presentation state

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        number = 0
        while not self.stop.wait(PAUSE_S):
            if len(self.images) - self.finished() >= MOST_UNDER_WAY:
                self._send_states()
                continue
            number += 1
            self._send_study(number)
        while self._owed:  # all that was begun is ended
            time.sleep(PAUSE_S)
            self._send_states()

    def finished(self) -> int:
        """Studies that came to an end, as far as the ledger can be asked."""
        ended = (JobState.DONE, JobState.QUARANTINED)
        statement = select(func.count(func.distinct(job.c.study_id))).where(job.c.state.in_(ended))
        try:
            with self.hospital.database().read() as connection:
                return int(connection.execute(statement).scalar_one())
        except LedgerError:
            return 0

    def _send_study(self, number: int) -> None:
        about = "patience" if number % PATIENT == 0 else "small"
        images = small_series(SLICES, PatientID=f"CHAOS-{number}", StudyDescription=about)
        if number == POISONED:
            for image in images:
                image.PixelData = np.full((image.Rows, image.Columns), POISON + 1, np.uint16).tobytes()
        folder = write(images, self.hospital.folder / "scanner" / f"{number}")
        self._to_pacs(folder)
        self._to_node(folder)
        study_uid = str(images[0].StudyInstanceUID)
        if number == POISONED:
            self.poison = study_uid
        elif number % STATE_EVERY == 0:
            self._owed.append(study_uid)
        self.images[study_uid] = images

    def _to_pacs(self, folder: Path) -> None:
        for file in sorted(folder.iterdir()):
            while True:
                try:
                    self.hospital.pacs.request("POST", "/instances", file.read_bytes())
                    break
                except OSError:
                    time.sleep(PAUSE_S)

    def _to_node(self, *sources: Path) -> None:
        while storescu(self.hospital.node.port, *sources, called="DICOMNODE", options=("--timeout", "15")).returncode:
            self.refusals += 1
            time.sleep(PAUSE_S)

    def _send_states(self) -> None:
        """Presentation states for the studies whose job is done: they come late and change nothing."""
        for study_uid in list(self._owed):
            done = select(job.c.id).join(study).where(study.c.study_uid == study_uid, job.c.state == JobState.DONE)
            try:
                with self.hospital.database().read() as connection:
                    if connection.execute(done).first() is None:
                        continue
            except LedgerError:
                return
            state = presentation_state(self.images[study_uid])
            folder = self.hospital.folder / "scanner" / "states"
            folder.mkdir(exist_ok=True)
            self._to_node(write_one(state, folder / f"{state.SOPInstanceUID}.dcm"))
            self.states.add(str(state.SOPInstanceUID))
            self._owed.remove(study_uid)


def presentation_state(images: list[Dataset]) -> Dataset:
    """A grayscale softcopy presentation state (PS3.3 A.33.1) that shows images as they are."""
    first, state = images[0], Dataset()
    for keyword in ("SpecificCharacterSet", "StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate"):
        setattr(state, keyword, getattr(first, keyword))
    for keyword in ("PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(state, keyword, getattr(first, keyword))
    state.SOPClassUID, state.SOPInstanceUID = GrayscaleSoftcopyPresentationStateStorage, generate_uid()
    state.SeriesInstanceUID, state.Modality, state.SeriesNumber, state.InstanceNumber = generate_uid(), "PR", 90, 1
    state.ContentLabel, state.ContentDescription, state.PresentationLUTShape = "LATE", "", "IDENTITY"
    state.PresentationCreationDate, state.PresentationCreationTime = "20260304", "120000"
    shown = Dataset()
    shown.SeriesInstanceUID = first.SeriesInstanceUID
    shown.ReferencedImageSequence = [_reference(image) for image in images]
    state.ReferencedSeriesSequence = [shown]
    return state


def _reference(image: Dataset) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return made
