"""The Celery application of the workers.

Started as ``celery -A workers.app worker`` by ``python -m workers run``; reads the configuration that
``DICOM_NODE_CONFIG`` names.
"""

from __future__ import annotations

import warnings

from celery import Celery
from celery.exceptions import SecurityWarning

from dicom_node.archive.places import broker_url, queue_name
from dicom_node.domain.job import Priority
from dicom_node.settings import Settings
from workers.configuration import read_settings
from workers.watchdog import WatchdogStep

# Celery warns root about pickled messages; ours are JSON, and containers run as root.
warnings.filterwarnings("ignore", category=SecurityWarning)


def make_app(settings: Settings) -> Celery:
    """Celery as the ledger needs it: every message may come twice or never, and no harm is done."""
    made = Celery("workers", broker=broker_url(settings), include=["workers.tasks"])
    made.conf.update(
        task_queues=None,
        task_default_queue=queue_name(Priority.ROUTINE),
        task_acks_late=True,  # a killed worker's message comes back
        task_reject_on_worker_lost=True,  # so does a killed child's; the ledger counts the attempts
        task_acks_on_failure_or_timeout=True,  # failures stand in the ledger
        task_ignore_result=True,  # results stand in the ledger
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a broker's hiccup kills no healthy job
        worker_soft_shutdown_timeout=3,  # a short job may end; another one is handed back
        worker_proc_alive_timeout=120,  # a new child loads its models before it reports
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,  # our own lines would be logged twice
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 86400,  # a longer task would run twice at once
            "queue_order_strategy": "priority",  # strict: stat before urgent before routine
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
        },
    )
    made.steps["worker"].add(WatchdogStep)
    return made


app = make_app(read_settings())
