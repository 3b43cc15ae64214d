from datetime import UTC, datetime, timedelta

from sqlalchemy import update
from studies_of_results import Clinic

from dicom_node.archive import open_items, reviews, schema


def aged(clinic: Clinic, days: float) -> int:
    """A result that was delivered to ``pacs`` so long ago; its parcel."""
    clinic.result(destinations=("pacs",))
    clinic.deliver("pacs")
    table, then = schema.parcel, datetime.now(UTC) - timedelta(days=days)
    with clinic.database.write() as connection:
        connection.execute(update(table).values(sent_at=then))
    return clinic.parcels.all()[0].id


def test_it_is_due_a_day_after_delivery_and_after_each_look(clinic: Clinic) -> None:
    number = aged(clinic, 1.5)
    assert reviews.due(clinic.database, ["pacs"], 3, 10) == [number]
    assert reviews.due(clinic.database, ["other"], 3, 10) == reviews.due(clinic.database, ["pacs"], 1, 10) == []
    reviews.doubted(clinic.database, number, "there PatientID is 'P2'", -1.0)
    assert reviews.due(clinic.database, ["pacs"], 3, 10) == [number]
    reviews.doubted(clinic.database, number, "there PatientID is 'P2'", 300.0)
    assert reviews.due(clinic.database, ["pacs"], 3, 10) == []
    reviews.reviewed(clinic.database, number, "its record says the same")
    assert reviews.due(clinic.database, ["pacs"], 3, 10) == []
    assert clinic.parcels.all()[0].record == "its record says the same"


def test_the_same_difference_is_opened_once(clinic: Clinic) -> None:
    aged(clinic, 1.5)
    (parcel,) = clinic.parcels.all()
    for difference in ("different: PatientID=P2", "different: PatientID=P2", "different: PatientID=P3"):
        reviews.open_item(clinic.database, parcel, "record-differs", "pacs: …", "look", difference)
    assert [item.kind for item in open_items.listed(clinic.database)] == ["record-differs", "record-differs"]
