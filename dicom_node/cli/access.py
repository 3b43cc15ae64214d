"""What a command works on: the configuration, and the ledger as it is."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from dicom_node.errors import LedgerError

if TYPE_CHECKING:
    from dicom_node.archive.database import Database
    from dicom_node.settings import Configuration, Settings


def configuration(context: typer.Context) -> Configuration:
    """What ``--config`` and the environment say.

    Raises:
        ConfigurationError: with file, line and key.
    """
    from dicom_node.settings import load

    return load(context.obj)


@contextmanager
def ledger(context: typer.Context) -> Iterator[Database]:
    """The ledger's database, which must be there in this version's schema.

    Raises:
        LedgerError: there is none yet, or it has another schema.
    """
    with opened(configuration(context).settings) as database:
        yield database


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The ledger of ``settings``; never created, never migrated.

    Raises:
        LedgerError: there is none yet, or it has another schema.
    """
    from dicom_node.archive.database import Database
    from dicom_node.archive.migrate import current_revision, head_revision
    from dicom_node.archive.places import Places
    from dicom_node.archive.sealing import Vault

    place = Places(settings.node.data_dir).ledger
    if settings.database.url == "sqlite" and not place.is_file():
        raise LedgerError(
            f"there is no ledger yet ({place})",
            reason="no-ledger",
            remedy="start the node, which makes one: dicom-node up; or name the right file with --config",
        )
    database = Database(settings.database.url, settings.node.data_dir, Vault.of(settings.ehr.seal))
    try:
        found, expected = current_revision(database), head_revision()
        if found is None:
            raise LedgerError("the ledger is empty", reason="no-ledger", remedy="start the node: dicom-node up")
        if found != expected:
            raise LedgerError(
                f"the ledger has schema {found}, this version of dicom-node works with {expected}",
                reason="other-schema",
                remedy="restart the node with this version, which brings an older ledger up to date",
            )
        yield database
    finally:
        database.close()


def person() -> str:
    """Who gives the command, for the history."""
    return f"cli:{getpass.getuser()}"
