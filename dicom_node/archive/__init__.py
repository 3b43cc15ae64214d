"""What is kept: objects as received, what is known of them, and what became of them.

files      objects written once, durable before they are acknowledged
header     Part 10 file -> the record the index needs
index      instances, series, studies: which of several objects counts, what those of a series agree on
readiness  what is open, and the evidence that it is whole
ledger     jobs: planned, claimed, committed; parcels and events likewise
"""
