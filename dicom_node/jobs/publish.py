"""Messages to the workers, through Celery: the broker is only the doorbell of the ledger's queue."""

from __future__ import annotations

import logging
import time

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from dicom_node.archive.places import broker_url, queue_name
from dicom_node.domain.fitness import Abilities
from dicom_node.domain.job import Priority
from dicom_node.errors import BrokerError
from dicom_node.settings import Settings

log = logging.getLogger(__name__)

TASK = "workers.run"
_EPOCH = "dicom-node:epoch"
_TRANSPORT = {"socket_connect_timeout": 3, "socket_timeout": 5, "visibility_timeout": 86400}


class Publisher:
    """Sends job ids by Celery. Used by one thread."""

    def __init__(self, settings: Settings) -> None:
        self.url = broker_url(settings)
        self._celery = Celery("dicom_node", broker=self.url)
        self._celery.conf.update(task_ignore_result=True, broker_transport_options=_TRANSPORT)
        self._redis = redis.Redis.from_url(_redis_url(self.url), socket_connect_timeout=3, socket_timeout=5)

    def publish(self, job_id: int, priority: Priority, time_limit_s: float, abilities: Abilities | None = None) -> None:
        """Ring for one job. ``time_limit_s`` is Celery's own limit, beyond the one the worker keeps.

        ``abilities``: only workers that have these hear it; None: all.

        Raises:
            BrokerError: the broker cannot be reached.
        """
        self.send(TASK, (job_id,), queue_name(priority, abilities), time_limit_s)

    def send(self, task: str, args: tuple[int, ...], queue: str, time_limit_s: float) -> None:
        """Send one message.

        Raises:
            BrokerError: the broker cannot be reached.
        """
        try:
            self._celery.send_task(
                task, args=args, queue=queue, time_limit=time_limit_s, retry=False, ignore_result=True
            )
        except OperationalError as error:
            raise BrokerError(f"the broker at {self.url} does not answer: {error}") from error

    def lost_its_data(self) -> bool:
        """Whether the broker is a new one, or came back empty, since the last call.

        Raises:
            BrokerError: the broker cannot be reached.
        """
        try:
            return bool(self._redis.set(_EPOCH, str(time.time()), nx=True))
        except redis.RedisError as error:
            raise BrokerError(
                f"the broker at {self.url} does not answer: {error}",
                remedy="workers look into the ledger themselves meanwhile: slower, but nothing is lost",
            ) from error

    def close(self) -> None:
        """Let go of the connections."""
        self._celery.close()
        self._redis.close()


def _redis_url(url: str) -> str:
    if url.startswith("redis+socket://"):
        path = url.removeprefix("redis+socket://").partition("?")[0]
        return f"unix://{path}?db=0"
    return url
