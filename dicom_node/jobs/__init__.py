"""From a study that is ready to a message for the workers.

broker      where the broker is, and the command that starts an embedded one
plan        rules x ready studies -> rows of the ledger
publish     Celery messages: a job's id, nothing else
reconcile   whatever was lost on the way is sent again
"""
