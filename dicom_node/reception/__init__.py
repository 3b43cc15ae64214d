"""Door 1, images.

``acceptor`` runs the process that listens; it registers ``store`` with the DIMSE acceptor, which puts a receipt before
each data set and lets the file store make it durable; ``hints`` then wakes the node, which reads the new files.
"""
