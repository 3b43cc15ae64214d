"""The electronic health record: documents are kept as received, and what they say is taken by a declared mapping.

mapping    which codes and units make which feature; shipped in features.toml, more by the site
extract    resources and observations -> features: pure
importer   bundles and NDJSON -> ledger
pull       FHIR servers are asked for one patient, when a model needs them
changes    FHIR servers are followed: what changed of patients we know, what was deleted
export     FHIR servers export their records (Bulk Data)
messages   HL7 v2 messages -> ledger
service    the process that listens for messages and follows servers
"""
