"""DICOMweb over the archive (PS3.18): search and retrieval. Storing is ``dicom_node.web.stow``.

    negotiation   Accept headers, and which media type and transfer syntax an answer has (pure)
    answers       what is answered: JSON, XML, parts one after the other, refusals with their reason
    query         parameters of a search (pure)
    search        QIDO-RS: studies, series, instances
    retrieve      WADO-RS: instances, metadata, bulk data
    frames        WADO-RS: frames
    picture       a frame as people see it: window, size, colour
    rendered      WADO-RS: rendered images and thumbnails
    xml           the Native DICOM Model, for those who do not take JSON (pure)
    routes        the addresses, put together

A request finds its objects in the ledger (``archive.holdings``) and reads their files as it answers: an answer of any
length takes the memory of one piece.
"""
