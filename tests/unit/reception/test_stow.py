from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dicom_node.archive.files import Reservation
from dicom_node.reception import stow
from dicom_node.reception.hints import HintListener
from dicom_node.reception.stow import Answer, StowDoor, StowRequest
from dicom_node.settings import NodeSettings, Settings

RELATED = 'multipart/related; type="application/dicom"; boundary=B'
STUDY = "1.2.3.1"


@pytest.fixture
def archive(tmp_path: Path, archive_factory: Any) -> Iterator[Any]:
    """On SQLite alone: no database takes part in this."""
    made = archive_factory(tmp_path)
    yield made
    made.database.close()


def body(*parts: bytes, headers: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    return b"".join(b"\r\n--B\r\n%s\r\n%s" % (headers, part) for part in parts) + b"\r\n--B--\r\n"


def asked(content_type: str = RELATED, accept: str = "", study_uid: str = "", **more: Any) -> StowRequest:
    return StowRequest(content_type, accept, study_uid, "10.0.0.9", **more)


@pytest.fixture
def door(archive: Any) -> StowDoor:
    return StowDoor(Settings(node=NodeSettings(data_dir=archive.data_dir)))


def module(answer: Answer) -> dict[str, Any]:
    """Stored and refused instances, and reasons of those without a name."""
    assert answer.media_type == "application/dicom+json"
    told = json.loads(answer.body)
    uid = "00081155"
    return {
        "stored": [item[uid]["Value"][0] for item in told.get("00081199", {}).get("Value", [])],
        "failed": {
            item[uid]["Value"][0]: item["00081197"]["Value"][0] for item in told.get("00081198", {}).get("Value", [])
        },
        "others": [item["00081197"]["Value"][0] for item in told.get("0008119A", {}).get("Value", [])],
    }


def kept(archive: Any) -> list[Path]:
    return sorted(archive.data_dir.glob("objects/*/*/*.dcm"))


def parts_left(archive: Any) -> list[Path]:
    return sorted(archive.data_dir.glob("objects/*/*/*.part"))


def test_instances_are_stored_and_named(archive: Any, door: StowDoor) -> None:
    files = [archive.part10(archive.image(number)) for number in (1, 2)]
    answer = door.store(asked(), [body(*files)])
    assert answer.status == 200
    assert module(answer) == {"stored": ["1.2.3.1.1.1", "1.2.3.1.1.2"], "failed": {}, "others": []}
    first = json.loads(answer.body)["00081199"]["Value"][0]
    assert first["00081150"] == {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]}
    assert len(kept(archive)) == 2


def test_the_answer_says_where_instances_can_be_fetched(archive: Any, door: StowDoor) -> None:
    base = "https://node.example/dicom-web"
    files = [archive.part10(archive.image(number)) for number in (1, 2)]
    told = json.loads(door.store(asked(base=base), [body(*files)]).body)
    assert told["00081190"] == {"vr": "UR", "Value": [f"{base}/studies/1.2.3.1"]}
    places = [item["00081190"]["Value"][0] for item in told["00081199"]["Value"]]
    assert places == [f"{base}/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.{number}" for number in (1, 2)]
    other = archive.part10(archive.image(1, StudyInstanceUID="1.2.3.2"))
    told = json.loads(door.store(asked(base=base), [body(files[0], other)]).body)
    assert told["00081190"] == {"vr": "UR"}


@given(cuts=st.lists(st.integers(0, 10_000), max_size=40))
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_the_body_is_cut_the_same_is_stored(archive: Any, door: StowDoor, cuts: list[int]) -> None:
    files = [archive.part10(archive.image(number)) for number in (1, 2, 3)]
    whole = body(*files)
    places = [0, *sorted(place % len(whole) for place in cuts), len(whole)]
    before = set(kept(archive))
    answer = door.store(asked(), [whole[start:end] for start, end in pairwise(places)])
    assert answer.status == 200
    new = [path.read_bytes() for path in kept(archive) if path not in before]
    assert [content[-60:] for content in new] == [file[-60:] for file in files]


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "application/dicom+json;q=0.5, text/html"])
def test_json_is_given_to_who_accepts_it(archive: Any, door: StowDoor, accept: str) -> None:
    assert door.store(asked(accept=accept), [body(archive.part10(archive.image(1)))]).status == 200


def test_a_body_that_is_one_instance_is_taken(archive: Any, door: StowDoor) -> None:
    answer = door.store(asked("application/dicom"), [archive.part10(archive.image(1))])
    assert (answer.status, module(answer)["stored"]) == (200, ["1.2.3.1.1.1"])


def test_a_part_may_leave_its_type_and_its_preamble_out(archive: Any, door: StowDoor) -> None:
    answer = door.store(asked(), [body(archive.part10(archive.image(1))[132:], headers=b"")])
    assert answer.status == 200


def test_what_is_refused_is_told_beside_what_is_stored(archive: Any, door: StowDoor) -> None:
    good = archive.part10(archive.image(1))
    other = archive.part10(archive.image(2, StudyInstanceUID="1.2.3.9"))
    cut_off = archive.part10(archive.image(3))[:-8]
    answer = door.store(asked(study_uid=STUDY), [body(good, other, cut_off, b"no DICOM")])
    assert answer.status == 202
    assert module(answer) == {
        "stored": ["1.2.3.1.1.1"],
        "failed": {"1.2.3.1.1.2": stow.OTHER_STUDY, "1.2.3.1.1.3": stow.CANNOT_UNDERSTAND},
        "others": [stow.CANNOT_UNDERSTAND],
    }
    assert len(kept(archive)) == 1
    assert parts_left(archive) == []


def test_nothing_stored_is_a_conflict(archive: Any, door: StowDoor) -> None:
    answer = door.store(asked(study_uid="1.2.3.9"), [body(archive.part10(archive.image(1)))])
    assert answer.status == 409
    assert module(answer)["failed"] == {"1.2.3.1.1.1": stow.OTHER_STUDY}
    assert kept(archive) == []


def test_a_part_of_another_type_is_refused_alone(archive: Any, door: StowDoor) -> None:
    good, text = body(archive.part10(archive.image(1))), body(b"hello", headers=b"Content-Type: text/plain\r\n")
    answer = door.store(asked(), [text.removesuffix(b"\r\n--B--\r\n") + good])
    assert (answer.status, module(answer)["others"]) == (202, [stow.CANNOT_UNDERSTAND])


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (asked("application/json"), 415, "media-type"),
        (asked(""), 415, "media-type"),
        (asked("multipart/form-data; boundary=B"), 415, "media-type"),
        (asked('multipart/related; type="application/dicom+xml"; boundary=B'), 415, "media-type"),
        (asked(content_encoding="gzip"), 415, "media-type"),
        (asked('multipart/related; type="application/dicom"'), 400, "no-boundary"),
        (asked(study_uid="1.2.x"), 400, "bad-uid"),
        (asked(accept="application/dicom+xml"), 406, "not-acceptable"),
        (asked(accept="application/dicom+json;q=0"), 406, "not-acceptable"),
        (asked(content_length=1 << 40), 413, "too-large"),
    ],
)
def test_a_request_that_is_wrong_is_refused_unread(
    archive: Any, door: StowDoor, request_: StowRequest, status: int, reason: str
) -> None:
    def unread() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    answer = door.store(request_, unread())
    assert (answer.status, json.loads(answer.body)["error"]["reason"]) == (status, reason)
    assert kept(archive) == []


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"--B--\r\n", b"--B\r\nnonsense\r\n\r\n"])
def test_a_body_without_an_instance_is_a_bad_request(door: StowDoor, content: bytes) -> None:
    assert door.store(asked(), [content]).status == 400


def test_a_body_that_breaks_off_keeps_what_was_complete(archive: Any, door: StowDoor) -> None:
    files = [archive.part10(archive.image(number)) for number in (1, 2)]
    answer = door.store(asked(), [body(*files)[:-40]])
    assert answer.status == 202
    assert module(answer)["stored"] == ["1.2.3.1.1.1"]
    assert len(module(answer)["others"]) + len(module(answer)["failed"]) == 1
    assert parts_left(archive) == []


def test_a_sender_that_goes_leaves_nothing_half(archive: Any, door: StowDoor) -> None:
    files = [archive.part10(archive.image(number, PixelData=bytes(600_000))) for number in (1, 2)]

    def goes() -> Iterable[bytes]:
        yield body(*files)[:-1000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        door.store(asked(), goes())
    assert len(kept(archive)) == 1
    assert parts_left(archive) == []


def test_more_than_is_taken_is_told_while_it_comes(archive: Any) -> None:
    door = StowDoor(Settings(node=NodeSettings(data_dir=archive.data_dir)), largest_request=5000)
    pieces = [body(archive.part10(archive.image(1, PixelData=bytes(100_000))))]
    answer = door.store(asked(), [pieces[0][start : start + 1000] for start in range(0, 100_000, 1000)])
    assert answer.status == 413
    assert kept(archive) == parts_left(archive) == []


def test_a_full_disk_is_told_as_such(archive: Any, door: StowDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Reservation, views: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files = [archive.part10(archive.image(number)) for number in (1, 2)]
    monkeypatch.setattr(Reservation, "write", full)
    answer = door.store(asked(), [body(*files)])
    assert answer.status == 503
    assert set(module(answer)["failed"].values()) == {stow.OUT_OF_RESOURCES}
    assert parts_left(archive) == []


def test_a_request_that_does_not_fit_the_disk_is_refused_unread(archive: Any) -> None:
    door = StowDoor(Settings(node=NodeSettings(data_dir=archive.data_dir, least_free_bytes=1 << 60)))
    answer = door.store(asked(), [b""])
    assert (answer.status, json.loads(answer.body)["error"]["reason"]) == (503, "no-space")
    free = shutil.disk_usage(archive.data_dir).free
    door = StowDoor(Settings(node=NodeSettings(data_dir=archive.data_dir, least_free_bytes=0)), largest_request=1 << 60)
    assert door.store(asked(content_length=2 * free), [b""]).status == 503
    assert door.store(asked(content_length=100), [b""]).status == 400


def test_an_object_beyond_the_limit_is_refused_alone(archive: Any) -> None:
    door = StowDoor(Settings(node=NodeSettings(data_dir=archive.data_dir, maximum_object_bytes=50_000)))
    large = archive.part10(archive.image(2, PixelData=bytes(600_000)))
    answer = door.store(asked(), [body(archive.part10(archive.image(1)), large)])
    assert (answer.status, module(answer)["stored"]) == (202, ["1.2.3.1.1.1"])
    assert module(answer)["others"] == [stow.OUT_OF_RESOURCES]


def test_the_node_is_told_of_the_upload(archive: Any, door: StowDoor) -> None:
    listener = HintListener(archive.store.places.hints)
    door.store(asked(), [body(archive.part10(archive.image(1)))])
    hints = listener.wait(1.0)
    listener.close()
    assert [hint["kind"] for hint in hints] == ["stored", "association-ended"]
    assert (hints[1]["peer"], hints[1]["objects"]) == ("stow-rs from 10.0.0.9", 1)


@given(content=st.binary(max_size=400), study_uid=st.sampled_from(["", STUDY]))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_answered(archive: Any, door: StowDoor, content: bytes, study_uid: str) -> None:
    assert door.store(asked(study_uid=study_uid), [content]).status == 400
    assert door.store(asked(study_uid=study_uid), [body(content)]).status in (400, 409)
