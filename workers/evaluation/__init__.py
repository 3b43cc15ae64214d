"""How good a model is, on cases whose truth is known.

``cases`` finds images and their truth in a folder, ``scores`` compares, ``charts`` draws, ``run`` is the whole way. The
model runs as it does for a patient: in its host process, on a volume of the worker's own reader.
"""
