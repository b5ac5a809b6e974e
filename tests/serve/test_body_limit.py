"""Bodies of requests that are too long, do not end, or do not come."""

import asyncio
import json

import pytest

from spiritlm_pl.serve.api import build_api


def test_a_body_over_the_limit_is_413_whatever_its_header_says(client):
    large = json.dumps({"audio": "A" * 1_100_000}).encode()
    headers = {"content-type": "application/json"}
    response = client.post("/api/tokenize", content=large, headers=headers)
    assert response.status_code == 413 and "body must have at most 1000000 bytes" in response.json()["detail"]
    chunks = (large[start : start + 10_000] for start in range(0, len(large), 10_000))
    for content, length in ((chunks, None), (large, "10"), (b"{}", str(10**12))):  # the first without a length at all
        more = headers if length is None else headers | {"content-length": length}
        assert client.post("/api/tokenize", content=content, headers=more).status_code == 413


def test_a_client_that_waits_is_told_before_it_sends(session):
    sent = []

    async def receive():
        raise AssertionError("the body was asked for")

    async def send(message):
        sent.append(message)

    headers = [(b"expect", b"100-continue"), (b"content-length", b"2147483648")]
    scope = {"type": "http", "method": "POST", "path": "/api/tokenize", "query_string": b"", "headers": headers}
    asyncio.run(build_api(session)(scope | {"http_version": "1.1"}, receive, send))
    assert sent[0]["status"] == 413


def test_a_body_without_end_is_given_up(session):
    sent, received = [], 0

    async def receive():
        nonlocal received
        received += 100_000
        return {"type": "http.request", "body": b" " * 100_000, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/tokenize", "query_string": b"", "headers": []}
    asyncio.run(build_api(session)(scope | {"http_version": "1.1"}, receive, send))
    assert sent[0]["status"] == 413 and received < 5_000_000


def test_a_body_that_does_not_come_is_given_up(session):
    from spiritlm_pl.serve.body_limit import BodyLimit

    async def app(scope, receive, send):
        await receive()

    async def receive():
        await asyncio.sleep(60)

    from starlette.exceptions import HTTPException

    with pytest.raises(HTTPException, match="must arrive within 0.05 s") as error:
        asyncio.run(BodyLimit(app, 10, read_seconds=0.05)({"type": "http", "headers": []}, receive, None))
    assert error.value.status_code == 408
