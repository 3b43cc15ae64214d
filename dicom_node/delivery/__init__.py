"""Results and received objects on their way to the PACS.

courier   a lane for each destination that has something due
lane      sends parcels over one association until they are there; then looks for them in the peer
verify    whether the peer has what it took (C-FIND)
backoff   how long to wait before the next try (pure)
"""
