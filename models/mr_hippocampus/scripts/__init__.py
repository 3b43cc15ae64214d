"""Anterior and posterior hippocampus on cropped MR."""
