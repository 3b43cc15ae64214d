"""Bring the ledger's schema up to this version, and the rows that must exist."""

from __future__ import annotations

import uuid
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import func, insert, inspect, select, text

from dicom_node.archive.database import Database, db_now
from dicom_node.archive.schema import installation, site
from dicom_node.errors import LedgerError

_LOCK = 0x6469636F  # any constant: two nodes must not migrate one PostgreSQL database at once


def migrate(database: Database) -> None:
    """Apply the missing schema versions; create the installation and the default site.

    Raises:
        LedgerError: the ledger was written by a newer version of this program.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerError(
                f"the ledger has a schema this version does not know: {error}",
                reason="newer-ledger",
                remedy="run the version of dicom-node that wrote it, or a newer one",
            ) from error
        if connection.execute(select(func.count()).select_from(installation)).scalar_one() == 0:
            connection.execute(insert(installation).values(id=1, uuid=str(uuid.uuid4()), created_at=db_now()))
            connection.execute(insert(site).values(name="default", settings={}))


def head_revision() -> str:
    """The schema version of this program."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return str(ScriptDirectory.from_config(config).get_current_head())


def current_revision(database: Database) -> str | None:
    """The schema version of a ledger as it is; None when nothing was ever created in it."""
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
