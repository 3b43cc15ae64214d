"""The command line: each module is a noun (or ``up``, ``check`` …) and adds its commands with ``register(app)``.

    main      dicom-node [--config FILE] …; turns errors into "error: …", a remedy and an exit status
    access    configuration and ledger of a command; reading never creates or migrates a ledger
    output    plain data in, JSON or tables out

Each command gathers plain data first, then shows it as JSON or as text, so ``--json`` never tells less.
Everything but typer is imported when a command runs: ``--help`` has to be quick.
"""
