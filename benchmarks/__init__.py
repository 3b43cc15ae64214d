"""Figures of the node beside those of its peers, measured in the same run.

Each module is a program (``python -m benchmarks.startup``; all of them: ``make bench``) that prints a table and writes
``benchmarks/results/<name>.json``. They use the peers of ``tests/peers.py``, so ``tests`` must be on the path.
"""
