"""The workers' Celery application with the jobs of ``noop_worker``."""

import noop_worker  # noqa: F401  before the task is there

from workers.app import app


@app.task(name="noop.nothing")  # type: ignore[untyped-decorator]
def nothing() -> None:
    """What Celery itself costs."""


app.conf.include = ["noop_app", *app.conf.include]
