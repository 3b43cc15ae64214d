"""Alembic environment: runs on the connection that ``dicom_node.archive.migrate`` hands over."""

from alembic import context

from dicom_node.archive.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
