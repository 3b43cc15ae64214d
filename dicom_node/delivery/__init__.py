"""Results and received objects on their way to the PACS.

courier       lanes for each destination that has something due
lane          sends parcels until they are there; then looks for them in the peer
recheck       how the destination has the images now, before results go there
encodings     which encoding of results it takes
review        whether it still has them so, after delivery
destination   what each kind of destination offers; ``kinds`` lists them
cstore        a DICOM application entity: C-STORE, C-FIND
dicomweb      a DICOMweb server: STOW-RS, QIDO-RS
folder        a folder: files, compared by digest
verify        whether the peer has what it took
commit        whether the peer answers for it (Storage Commitment)
backoff       how long to wait before the next try (pure)
bandwidth     how fast a destination is sent to
opening       at which hours (pure)
"""
