"""Pages and API of the node, and the doors for objects over HTTP.

    app       the application put together, and served until told to stop
    guard     what every answer carries, and which host names are answered
    health    /healthz, /readyz, /metrics
    pages     / and /studies/{uid}, rendered from ``templates/``
    results   what the page of a study shows of each result
    slices    images with the outlines of what was found
    actions   what a person may do from the pages; assess: what they say of a result
    api       /api/v1/…: the same plain data as ``--json``
    stow      /dicom-web/studies, to ``dicom_node.reception.stow``
    dicomweb  /dicom-web/…: search and retrieval
    ohif      the viewer OHIF with /dicom-web, on a port of its own, once it is installed

Nothing is loaded from elsewhere: no script, no font, no picture of another server.
"""
