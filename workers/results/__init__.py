"""Findings become DICOM objects, in memory, ready to be committed.

source (what is taken over from the images) -> provenance (who made the result, when, from what)
    -> segmentation (SEG) -> report (SR) -> encode (Part 10 bytes) -> readback (the bytes still say what was found)
"""
