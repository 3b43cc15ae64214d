"""Features -> risk, by published equations that stand as data, with their test vectors, in the model's folder.

equations   the data and what it computes: pure
risk        a job's features -> findings: the risk, each input with its source, what was missing and what that does
"""
