"""What is kept: objects as received, what is known of them, and what became of them.

files      objects written once, durable before they are acknowledged
header     Part 10 file -> the record the index needs
index      instances, series, studies
ledger     jobs: planned, claimed, committed; parcels and events likewise
"""
