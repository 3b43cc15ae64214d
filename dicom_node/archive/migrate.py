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
from dicom_node.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x6469636F  # any constant: two nodes must not migrate one PostgreSQL database at once


def migrate(database: Database) -> None:
    """Apply the missing schema versions; create the installation and the default site.

    Raises:
        ConfigurationError: the ledger was written by a newer version of this program.
    """
    config = _config()
    with database.write(alone=_LOCK) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise _newer(str(error)) from error
        if connection.execute(select(func.count()).select_from(installation)).scalar_one() == 0:
            connection.execute(insert(installation).values(id=1, uuid=str(uuid.uuid4()), created_at=db_now()))
            connection.execute(insert(site).values(name="default", settings={}))


def head_revision() -> str:
    """The schema version of this program."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def refuse_newer(database: Database) -> None:
    """Start no work on a ledger of a newer version; one that is older, or empty, is the node's to bring up to date.

    Raises:
        ConfigurationError: the ledger was written by a newer version of this program.
        LedgerError: the database does not answer.
    """
    found = current_revision(database)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise _newer(f"it is {found!r}, this version ends with {head_revision()!r}")


def current_revision(database: Database) -> str | None:
    """The schema version of a ledger as it is; None when nothing was ever created in it."""
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _newer(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the ledger has a schema this version does not know: {why}",
        key="database.url",
        reason="newer-ledger",
        remedy="run the version of dicom-node that wrote it, or a newer one",
    )
