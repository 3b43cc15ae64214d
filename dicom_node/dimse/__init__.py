"""DICOM over TCP; the only importer of pynetdicom.

Inwards: ``acceptor`` listens; ``admission`` decides on the association and ``contexts`` on what may be stored;
``streaming`` reads the socket, ``framing`` cuts the bytes into fragments, ``command`` reads the C-STORE request;
the fragments go undecoded to the object that a ``StoreService`` (``inbound``) has begun, and its answer goes back.

Outwards: ``associate`` opens associations and names what went wrong; ``send`` stores files on a peer; ``find`` asks it.
"""
