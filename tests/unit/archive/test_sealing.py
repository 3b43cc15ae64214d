"""What records say is sealed on the disk and in the ledger; nothing opens it but its key, in its own place."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from fhir_records import MRN, bundle, observation, patient
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import text

from dicom_node.archive.database import Database
from dicom_node.archive.features import Features, read_document
from dicom_node.archive.files import ObjectStore
from dicom_node.archive.forgetting import forget, reseal
from dicom_node.archive.migrate import migrate
from dicom_node.archive.reads import of_patient
from dicom_node.archive.sealing import MARK, Vault, is_sealed, opened
from dicom_node.ehr_settings import EhrSettings, SealSettings
from dicom_node.errors import ConfigurationError, LedgerError
from dicom_node.sidecars.ehr.importer import Importer
from dicom_node.sidecars.ehr.mapping import load

OLD, NEW = b"o" * 32, b"n" * 32
SETTINGS = EhrSettings.model_validate({"identifiers": [{"system": MRN, "issuer": "HOSP"}]})
MAPPING = load()


@given(some.binary(), some.text(max_size=20))
def test_what_is_sealed_is_opened_by_its_key_in_its_place_and_by_nothing_else(data: bytes, about: str) -> None:
    sealed = Vault([OLD]).seal(data, about)
    assert Vault([NEW, OLD]).open(sealed, about) == data
    assert sealed != Vault([OLD]).seal(data, about)
    for wrong in (lambda: Vault([NEW]).open(sealed, about), lambda: Vault([OLD]).open(sealed, about + "x")):
        with pytest.raises(LedgerError):
            wrong()
    broken = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    with pytest.raises(LedgerError, match="changed"):
        Vault([OLD]).open(broken, about)


def ledger(folder: Path, *keys: bytes) -> Database:
    made = Database("sqlite", folder, Vault(keys) if keys else None)
    migrate(made)
    return made


def take(database: Database) -> int:
    importer = Importer(SETTINGS, database, ObjectStore(database.data_dir), MAPPING, "epic")
    egfr = observation("33914-3", 88.25, "mL/min/{1.73_m2}")
    importer.document(bundle(patient(name=[{"family": "Unmistakable"}]), egfr), "a.json")
    assert importer.report.refused == []
    return Features(database).identity("HOSP", "P1")


def on_disk(folder: Path) -> bytes:
    """Everything that the node wrote."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_neither_names_nor_values_stand_on_the_disk(tmp_path: Path) -> None:
    for keys, found in (((), True), ((NEW,), False)):
        folder = tmp_path / str(len(keys))
        database = ledger(folder, *keys)
        take(database)
        database.close()
        assert [word in on_disk(folder) for word in (b"Unmistakable", b"88.25", b"19640301")] == [found] * 3


def test_keys_are_changed_and_old_ones_can_go(tmp_path: Path) -> None:
    clear = ledger(tmp_path)
    who = take(clear)
    clear.close()
    for keys in ((OLD,), (NEW, OLD), (NEW,)):
        database, store = ledger(tmp_path, *keys), ObjectStore(tmp_path)
        features = Features(database)
        assert {each.value for each in features.of_patient(who)} == {"1964-03-01", "female", 88.25}
        assert features.records(who)[0].attributes["PatientName"] == "Unmistakable"
        ((document, _),) = features.documents(who)
        assert b"Unmistakable" in read_document(store, document, database.vault)
        again = reseal(database, store, database.vault)
        assert again == ((0, 0) if keys == (NEW,) else (1, 4))
        assert stat.S_IMODE(store.absolute(document.path).stat().st_mode) == 0o600
        take(database)  # the same again changes nothing
        database.close()
    assert b"Unmistakable" not in on_disk(tmp_path)


def test_without_its_key_nothing_is_read_and_nothing_is_written_in_clear(tmp_path: Path) -> None:
    database = ledger(tmp_path, OLD)
    who = take(database)
    database.close()
    for keys in ((), (NEW,)):
        database = ledger(tmp_path, *keys)
        with pytest.raises(LedgerError) as caught:
            Features(database).of_patient(who)
        assert (caught.value.reason, "ehr.seal" in str(caught.value.remedy)) == ("no-key", True)
        database.close()
    database = ledger(tmp_path)
    with pytest.raises(LedgerError, match="is sealed by the key"):
        take(database)
    database.close()


@pytest.mark.parametrize("keys", [(), (OLD,)])
def test_a_patient_is_forgotten_with_everything(tmp_path: Path, keys: tuple[bytes, ...]) -> None:
    database, store = ledger(tmp_path, *keys), ObjectStore(tmp_path)
    who = take(database)
    gone = forget(database, store, who, "cli:me", "asked for")
    assert (gone.documents, gone.features, gone.records) == (1, 3, 1)
    features = Features(database)
    assert (features.of_patient(who), features.records(who), features.documents(who)) == ((), (), ())
    assert [file for file in store.places.documents.rglob("*") if file.is_file()] == []
    assert [(read.by, read.kind, read.purpose) for read in of_patient(database, who)] == [
        ("cli:me", "record forgotten", "asked for")
    ]
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM feature")).scalar() == 0
    database.close()


def test_keys_come_from_a_file_a_variable_or_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = f"# of 2026\n{base64.b64encode(NEW).decode()}\n{base64.b64encode(OLD).decode()}\n"
    file = tmp_path / "keys"
    file.write_text(told)
    file.chmod(0o600)
    monkeypatch.setenv("KEYS", told)
    for settings in ({"file": str(file)}, {"environment": "KEYS"}, {"command": ["cat", str(file)]}):
        vault = Vault.of(SealSettings.model_validate(settings))
        assert vault is not None
        sealed = vault.seal(b"x", "")
        assert (Vault([NEW]).open(sealed, ""), vault.open(Vault([OLD]).seal(b"y", ""), "")) == (b"x", b"y")
    assert Vault.of(None) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"file": "missing"}, "cannot be read"),
        ({"environment": "NO_SUCH_KEYS"}, "holds no key"),
        ({"environment": "SHORT"}, "line 1 .* is no key"),
        ({"command": ["false"]}, "status 1"),
        ({"command": ["no-such-command"]}, "gave no key"),
    ],
)
def test_keys_that_cannot_be_had_are_told(
    settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHORT", "c2hvcnQ=")
    with pytest.raises(ConfigurationError, match=words):
        Vault.of(SealSettings.model_validate(settings))


def test_a_file_of_keys_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(base64.b64encode(NEW).decode())
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others"):
        Vault.of(SealSettings(file=file))


def test_what_is_not_sealed_stays_as_it_is() -> None:
    data = os.urandom(50)
    assert not is_sealed(data)
    assert opened(None, data, "") == data
    with pytest.raises(LedgerError, match="not here"):
        opened(None, MARK + bytes(40), "")
