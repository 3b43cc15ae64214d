"""Door 1, images.

``acceptor`` runs the process that listens; it registers ``store`` with the DIMSE acceptor, which puts a receipt before
each data set and lets the file store make it durable; ``hints`` then wakes the node, whose ``indexer`` reads the files.

What comes as files goes through ``upload`` into the same store: ``stow`` reads it from HTTP by way of ``multipart``,
``importer`` from a disk.

``commitment`` answers peers that ask whether we keep what they sent, from what is on the disk.
"""
