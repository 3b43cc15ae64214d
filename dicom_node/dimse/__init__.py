"""DICOM over TCP and TLS; the only importer of pynetdicom.

Inwards: ``acceptor`` listens; ``admission`` decides on the association, ``occupancy`` counts it, ``contexts`` settles
what may be stored; ``streaming`` reads its ``connection``, within the limits of ``pace``; ``framing`` cuts the bytes
into fragments and ``intake`` follows their messages, with ``command`` to read a C-STORE request; the fragments go
undecoded to the object that a ``StoreService`` (``inbound``) has begun, and its answer goes back.

Outwards: ``connect`` opens connections and ``associate`` associations, and both name what went wrong; ``send`` stores
files on a peer; ``find`` asks it. ``tls`` and ``transport`` serve both directions.

Both ways: ``commitment`` takes requests of Storage Commitment as one of the ``services`` beside C-STORE, and reports.
"""
