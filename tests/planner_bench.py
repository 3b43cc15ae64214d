"""A planner on a ledger in a folder, for tests of what it makes of studies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select, update

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.ledger import Ledger
from dicom_node.archive.schema import instance, series, study
from dicom_node.catalogue import Catalogue
from dicom_node.domain.study import Readiness, SeriesView, StudyView
from dicom_node.jobs.plan import Planner
from dicom_node.rules.match import RuleSet
from dicom_node.settings import Configuration, Settings, Source

RULE = {
    "name": "chest CT",
    "model": "ct_lung_density",
    "all": ['Modality == "CT"', "instances >= 20"],
    "send_to": ["pacs"],
}
PEER = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


def view(number: int = 1, *, ready: bool = True, instances: int = 30, **attributes: object) -> SeriesView:
    return SeriesView(
        id=number,
        series_instance_uid=f"1.2.{number}",
        attributes={"Modality": "CT", "SliceThickness": 5.0, **attributes},
        varying=frozenset(),
        instances=instances,
        peer="127.0.0.1",
        called_ae="NODE",
        calling_ae="PACS",
        readiness=Readiness.READY if ready else Readiness.OPEN,
        readiness_reason="" if ready else "3 s since the last image",
    )


class Bench:
    """A planner on a ledger in a folder; the study is what the test says it is."""

    def __init__(
        self,
        database: Database,
        rule: dict[str, object] | None = None,
        peer: dict[str, object] | None = None,
        node: dict[str, object] | None = None,
        roles: int = 1,
    ) -> None:
        told = {"node": node or {}, "rules": [{**RULE, **(rule or {})}], "peers": [{**PEER, **(peer or {})}]}
        settings = Settings.model_validate(told)
        self.database = database
        self.ledger = Ledger(self.database)
        contract = Catalogue.load(settings).get("ct_lung_density")
        further = tuple(replace(contract.inputs[0], name="other") for _ in range(1, roles))
        contracts = {"ct_lung_density": replace(contract, inputs=(*contract.inputs, *further))}
        rules = RuleSet.compile(Configuration(settings, Source(None, "")), contracts)
        self.planner = Planner(settings, self.database, self.ledger, rules, lambda _: self.study)
        with self.database.write() as connection:
            times = {"first_received": db_now(), "last_received": db_now()}
            row = {"site_id": 1, "study_uid": "1.2", "state": "open", "readiness": {}, "outcome": "", "attributes": {}}
            connection.execute(insert(study).values(**row, **times, changed_at=db_now()))
        self.study = StudyView(1, 1, "1.2", Readiness.OPEN, "", (), datetime.now(UTC))

    def show(self, *found: SeriesView, whole: bool = False, quiet_s: float = 1000.0) -> int:
        """Let the planner see the study with these series; how many jobs it planned."""
        for each in found:
            self._store(each)
        self.study = replace(
            self.study,
            series=tuple(replace(each, last_received=datetime.now(UTC) - timedelta(seconds=quiet_s)) for each in found),
            readiness=Readiness.READY if whole else Readiness.OPEN,
            last_received=datetime.now(UTC) - timedelta(seconds=quiet_s),
        )
        with self.database.write() as connection:
            connection.execute(update(study).values(changed_at=db_now(), last_received=self.study.last_received))
        return self.planner.tick()

    def outcome(self) -> str:
        with self.database.read() as connection:
            return str(connection.execute(select(study.c.outcome)).scalar_one())

    def _store(self, seen: SeriesView) -> None:
        times = {"first_received": db_now(), "last_received": db_now()}
        sender = {"origin": "routed", "peer": "", "calling_ae": "", "called_ae": ""}
        with self.database.write() as connection:
            if connection.execute(select(series.c.id).where(series.c.id == seen.id)).first() is None:
                row = {"id": seen.id, "site_id": 1, "study_id": 1, "series_uid": seen.series_instance_uid}
                row |= {"modality": "CT", "state": "open", "readiness": {}, "attributes": {}, "varying": []}
                connection.execute(insert(series).values(**row, **times, **sender, instances=seen.instances))
            count = len(connection.execute(select(instance.c.id).where(instance.c.series_id == seen.id)).all())
            for number in range(count, seen.instances):
                uid = f"{seen.series_instance_uid}.{number}"
                row = {
                    "site_id": 1,
                    "study_id": 1,
                    "series_id": seen.id,
                    "sop_uid": uid,
                    "sop_class": "",
                    "revision": 1,
                }
                row |= {"state": "current", "reason": "", "digest": uid, "transfer_syntax": ""}
                row |= {"frames": 1, "path": uid, "size": 1, "association": "", "received_at": db_now()}
                connection.execute(insert(instance).values(**row, **sender))
