"""The electronic health record: documents are kept as received, and what they say is taken by a declared mapping.

mapping    which codes and units make which feature; shipped in features.toml, more by the site
extract    resources and observations -> features: pure
importer   a folder of bundles and NDJSON -> ledger
"""
