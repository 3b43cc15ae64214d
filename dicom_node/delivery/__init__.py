"""Results on their way to the PACS.

backoff   how long to wait before the next try (pure)
courier   due parcels, grouped by destination, one association each, tried until they are there
"""
