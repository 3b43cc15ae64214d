"""Lungs on CT without trained weights.

``lungs.LungSegmenter`` is the bundle's network: it hands the image to ``segmentation.segment``, which works on a
coarse copy (``coarse``), takes the airways out (``airways``), tells the right lung from the left (``sides``) and
draws the outline on the voxels of the image.
"""
