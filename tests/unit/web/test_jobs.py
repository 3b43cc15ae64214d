"""The page of jobs."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient


def test_jobs_are_listed_by_state_with_what_may_be_done(client: TestClient) -> None:
    text = client.get("/jobs").text
    states = set(re.findall(r'class="pill job-(\w+)"', text))
    assert {"done", "queued"} <= states
    for state in states:
        found = client.get(f"/jobs?state={state}").text
        assert set(re.findall(r'class="pill job-(\w+)"', found)) == {state}
    assert client.get("/jobs?state=perhaps").status_code == 422


def test_a_job_is_moved_in_the_order_from_the_page(client: TestClient) -> None:
    text = client.get("/jobs?state=queued").text
    action = re.search(r'action="(/actions/jobs/\d+/stat)"', text)
    token = re.search(r'name="token" value="([^"]+)"', text)
    assert action
    assert token
    answer = client.post(action[1], data={"token": token[1], "study": "jobs"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    assert "<td>stat</td>" in client.get("/jobs?state=queued").text
