"""From a series to numbers.

    volume        files of one series -> array in modality units on a voxel grid (LPS), or a refusal by name
    pool          keeps one warm host process per bundle, and ends the one that fails
    hosts         one such process, seen from the worker: start, send, wait, measure, kill
    wire          how the two talk: JSON over a socket pair, arrays through shared memory
    host          the process itself: closes the doors (sandbox), then obeys
    bundle        the bundle in memory: preprocessing -> network -> postprocessing -> label map
    measurements  label map and array -> values with units

Only ``host`` and what it calls import torch and MONAI; a worker never does.
"""
