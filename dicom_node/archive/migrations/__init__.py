"""Schema versions, applied in order at start."""
