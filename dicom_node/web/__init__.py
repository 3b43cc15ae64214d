"""Pages and API of the node: they read the ledger and change nothing.

    app       the application put together, and served until told to stop
    guard     what every answer carries, and which host names are answered
    health    /healthz, /readyz, /metrics
    pages     / and /studies/{uid}, rendered from ``templates/``
    api       /api/v1/…: the same plain data as ``--json``

Nothing is loaded from elsewhere: no script, no font, no picture of another server.
"""
