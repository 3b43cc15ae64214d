"""Migrations and tables say the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from dicom_node.archive.database import Database
from dicom_node.archive.migrate import MIGRATIONS, head_revision, migrate, refuse_newer
from dicom_node.archive.schema import installation, metadata
from dicom_node.errors import ConfigurationError

NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None


def upgrade() -> None:
    op.add_column("installation", sa.Column("motto", sa.String(16), nullable=False, server_default="exactly one"))
"""


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
    refuse_newer(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from-the-future'"))
    for start in (migrate, refuse_newer):
        with pytest.raises(ConfigurationError, match="does not know") as told:
            start(database)
        assert (told.value.reason, told.value.key) == ("newer-ledger", "database.url")
    assert head_revision() == "0001"


def test_ledger_of_an_older_version_is_brought_up_to_date_and_then_refused_by_the_older_one(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.read() as connection:
        before = connection.execute(select(installation.c.uuid)).scalar_one()
    next_version = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (next_version / "versions" / "0002_next.py").write_text(NEXT)
    with monkeypatch.context() as patched:
        patched.setattr("dicom_node.archive.migrate.MIGRATIONS", next_version)
        refuse_newer(database)
        migrate(database)
    with database.read() as connection:
        told = connection.execute(text("SELECT uuid, motto FROM installation")).one()
    assert tuple(told) == (before, "exactly one")
    with pytest.raises(ConfigurationError, match="0002"):
        migrate(database)


def test_a_database_without_a_ledger_is_not_newer(tmp_path: Path) -> None:
    empty = Database("sqlite", tmp_path)
    refuse_newer(empty)
    empty.close()
