"""dicom-node: the DICOM network node that puts imaging AI into a hospital's PACS.

The way of a study, each stage reading one state of the ledger and writing the next:

    reception   C-STORE in, bytes durable on disk before Success
    archive     files written once, headers indexed, the ledger (SQL) of everything below
    completion  is the series, or the study, all here, and by what evidence
    rules       which models run on which series, why, and why not
    jobs        one row per study content and model version, published to the workers
    workers     (package ``workers``) series -> volume -> bundle -> findings -> SEG and SR
    delivery    results to the PACS, retried until they are there
    web, cli    see, explain, retry
"""
