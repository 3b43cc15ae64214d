"""Exchange over HTTP with other systems.

``web_client`` opens connections to a DICOMweb server, over TLS where its URL says so, with what ``authorization`` adds
to each request; ``stow`` stores objects there and reads the answer; ``qido`` asks which objects it has. ``download``
streams a file to disk.
"""
