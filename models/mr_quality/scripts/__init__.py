"""Quality of MR images: which artefact, if any, dominates a volume.

``artefacts`` spoils good images for training and evaluation, ``statistics`` puts an image and its k-space into numbers,
``network`` tells from these what spoiled it.
"""
