"""What the tables of the ledger have in common."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the key is INTEGER. It reads a row from its front: long columns stand last.
Key = BigInteger().with_variant(Integer, "sqlite")


def id_column() -> Column[int]:
    """The key of a table."""
    return Column("id", Key, primary_key=True, autoincrement=True)


def site_column() -> Column[int]:
    """Whose row it is."""
    return Column("site_id", Key, ForeignKey("site.id"), nullable=False)
