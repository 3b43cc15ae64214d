"""Candidates of nodules in the lungs on CT: round and brighter than the lung around them. Nothing is trained.

``lungs`` (that of the bundle ct_lung_density, file by file) says where to look, ``blobs`` filters at several scales,
``shapes`` outlines and measures what was found, ``detector`` is the whole way.
"""
