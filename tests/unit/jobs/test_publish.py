"""Messages of jobs, on a real broker: what is sent, and what is told when it is away or has forgotten."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
import redis
from peers import RedisServer, free_port

from dicom_node.archive.places import queue_name
from dicom_node.domain.fitness import Abilities
from dicom_node.domain.job import Priority
from dicom_node.errors import BrokerError
from dicom_node.jobs.publish import TASK, Publisher
from dicom_node.settings import BrokerSettings, Settings


@pytest.fixture
def publisher(redis_server: RedisServer) -> Iterator[Publisher]:
    made = Publisher(Settings(broker=BrokerSettings(url=redis_server.url)))
    yield made
    made.close()


def waiting(server: RedisServer, queue: str) -> list[dict[str, object]]:
    client = redis.Redis.from_url(server.url)
    found = [json.loads(each) for each in client.lrange(queue, 0, -1)]
    client.close()
    return found


@pytest.mark.peer
def test_a_message_carries_the_number_of_its_job_and_a_limit(publisher: Publisher, redis_server: RedisServer) -> None:
    publisher.publish(7, Priority.STAT, 90.0)
    (message,) = waiting(redis_server, queue_name(Priority.STAT, None))
    headers = message["headers"]
    assert isinstance(headers, dict)
    assert headers["task"] == TASK
    assert headers["timelimit"] == [90.0, None]
    assert json.loads(base64.b64decode(str(message["body"])))[0] == [7]


@pytest.mark.peer
def test_priorities_and_kinds_of_workers_have_queues_of_their_own(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    gpu = Abilities(16000, frozenset({"gpu"}))
    for number, (priority, abilities) in enumerate(
        [(Priority.STAT, None), (Priority.ROUTINE, None), (Priority.STAT, gpu)]
    ):
        publisher.publish(number, priority, 90.0, abilities)
        assert len(waiting(redis_server, queue_name(priority, abilities))) == 1


@pytest.mark.peer
def test_a_broker_that_forgot_is_noticed_once(publisher: Publisher, redis_server: RedisServer) -> None:
    assert [publisher.lost_its_data(), publisher.lost_its_data()] == [True, False]
    client = redis.Redis.from_url(redis_server.url)
    client.flushall()
    client.close()
    assert [publisher.lost_its_data(), publisher.lost_its_data()] == [True, False]


def test_a_broker_that_is_away_is_told_by_its_address() -> None:
    publisher = Publisher(Settings(broker=BrokerSettings(url=f"redis://127.0.0.1:{free_port()}/0")))
    with pytest.raises(BrokerError, match="does not answer"):
        publisher.publish(7, Priority.STAT, 90.0)
    with pytest.raises(BrokerError, match="does not answer"):
        publisher.lost_its_data()
    publisher.close()
