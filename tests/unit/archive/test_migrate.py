"""Migrations and tables say the same."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from dicom_node.archive.database import Database
from dicom_node.archive.migrate import head_revision, migrate
from dicom_node.archive.schema import installation, metadata
from dicom_node.errors import LedgerError


def test_migrations_make_the_tables_of_the_schema(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    with database.read() as connection:
        before = connection.execute(select(installation.c.uuid)).scalar_one()
    migrate(database)
    with database.read() as connection:
        assert connection.execute(select(installation.c.uuid)).scalars().all() == [before]


def test_ledger_of_a_newer_version_is_refused(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from-the-future'"))
    with pytest.raises(LedgerError, match="does not know"):
        migrate(database)
    assert head_revision() == "0001"
