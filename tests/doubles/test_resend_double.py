"""The double tells the truth: what it took, how often it was called, and what it knew before it was killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.doubles.ledger import SlidingSecond
from tests.doubles.resend import ResendDouble

ROOT = Path(__file__).parents[2]


def mail(ref: str, **more: Any) -> dict[str, Any]:
    tags = [{"name": "postroom", "value": ref}]
    sent = {"from": "a@x.test", "to": "b@y.test", "subject": "s", "text": "t", "tags": tags}
    return {**sent, **more}


def headers(key: str | None, **more: str) -> dict[str, str]:
    keyed = {"idempotency-key": key} if key else {}
    return {"authorization": "Bearer re_1", **keyed, **more}


@pytest.fixture
async def double():
    async with ResendDouble() as running:
        yield running


@pytest.fixture
async def client(double):
    async with httpx.AsyncClient(base_url=double.url, trust_env=False) as opened:
        yield opened


async def test_the_same_key_and_bytes_are_answered_again_and_taken_once(double, client):
    answers = [
        await client.post("/emails/batch", json=[mail("a"), mail("b")], headers=headers("k"))
        for _ in range(3)
    ]
    assert len({answer.content for answer in answers}) == 1
    assert double.report()["mails_accepted"] == 2
    assert double.report()["repeated_keys"] == 2
    assert double.report()["calls_by_size"] == {"2": 1}


async def test_a_key_counts_for_its_path_and_its_team(double, client):
    await client.post("/emails", json=mail("a"), headers=headers("k"))
    await client.post("/emails/batch", json=[mail("b")], headers=headers("k"))
    await client.post("/emails", json=mail("c"), headers=headers("k", authorization="Bearer re_2"))
    assert double.report()["mails_accepted"] == 3
    assert double.report()["repeated_keys"] == 0
    assert double.report()["teams"] == 2


async def test_one_mail_under_two_keys_is_a_duplicate(double, client):
    await client.post("/emails", json=mail("a"), headers=headers("k1"))
    await client.post("/emails", json=mail("a"), headers=headers("k2"))
    report = double.report()
    assert (report["mails_accepted"], report["distinct_refs"], report["duplicates"]) == (2, 1, 1)
    assert report["duplicate_refs"] == [{"ref": "a", "keys": ["k1", "k2"]}]


async def test_a_mail_whose_call_was_never_answered_is_repeated_blindly_unless_under_its_key(
    double, client
):
    double.faults.set(drop_before_accept=1)
    with pytest.raises(httpx.TransportError):
        await client.post("/emails", json=mail("a"), headers=headers("k1"))
    await client.post("/emails", json=mail("a"), headers=headers("k1"))
    assert double.report()["blind_repeats"] == 0
    await client.post("/emails", json=mail("a"), headers=headers("k2"))
    assert double.report()["blind_repeats"] == 1


async def test_a_mail_that_was_refused_may_be_handed_over_under_another_key(double, client):
    double.faults.set(throttle=1)
    refused = await client.post("/emails", json=mail("a"), headers=headers("k1"))
    assert refused.status_code == 429
    await client.post("/emails", json=mail("a"), headers=headers("k2"))
    assert double.report()["blind_repeats"] == 0


async def test_a_call_that_took_nothing_holds_nothing_against_other_bytes(double, client):
    double.faults.set(error=1)
    assert (await client.post("/emails", json=mail("a"), headers=headers("k"))).status_code == 503
    assert (await client.post("/emails", json=mail("b"), headers=headers("k"))).status_code == 200
    assert (await client.post("/emails", json=mail("b"), headers=headers("k"))).status_code == 200
    assert double.report()["repeated_key_bytes_differ"] == 1


async def test_strict_batches_take_all_or_nothing_and_lose_attachments_silently(double, client):
    bad = [mail("a"), mail("b", to="rejected@x.test")]
    refused = await client.post("/emails/batch", json=bad, headers=headers("k1"))
    assert (refused.status_code, refused.json()["name"]) == (422, "validation_error")
    files = [mail("a", attachments=[{"filename": "f", "content": "QQ=="}])]
    await client.post("/emails/batch", json=files, headers=headers("k2"))
    assert double.report()["mails_accepted"] == 1
    assert double.report()["attachments_dropped"] == 1


@pytest.mark.parametrize(
    ("changed", "status", "name"),
    [
        ({"authorization": ""}, 401, "missing_api_key"),
        ({"authorization": "Bearer sk_1"}, 401, "validation_error"),
        ({"authorization": "Bearer re_suspended"}, 403, "suspended_api_key"),
        ({"user-agent": ""}, 403, "forbidden"),
    ],
)
async def test_strangers_are_refused(client, changed, status, name):
    answer = await client.post("/emails", json=mail("a"), headers=headers("k") | changed)
    assert (answer.status_code, answer.json()["name"]) == (status, name)
    assert answer.json()["statusCode"] == status


async def test_it_is_steered_and_asked_over_http(client):
    switched = await client.post("/_faults", json={"throttle": 1, "retry_after": 5})
    assert switched.json()["throttle"] == 1
    crowded = await client.post("/emails", json=mail("a"), headers=headers("k1"))
    assert (crowded.status_code, crowded.headers["retry-after"]) == (429, "5")
    taken = await client.post("/emails", json=mail("a"), headers=headers("k2"))
    assert taken.headers["ratelimit-policy"] == "10;w=1"
    report = (await client.get("/_report")).json()
    assert (report["mails_accepted"], report["calls"]) == (1, 2)
    assert report["calls_by_status"] == {"200": 1, "429": 1}
    assert (await client.get("/_refs")).json() == ["a"]
    assert (await client.post("/_faults", json={"nonsense": 1})).status_code == 400
    await client.post("/_reset")
    assert (await client.get("/_report")).json()["calls"] == 0


def test_the_most_calls_in_any_second_are_found_across_its_borders():
    second = SlidingSecond()
    for at in (0.0, 0.6, 0.9, 1.0, 1.5, 1.59, 3.0):
        second.add(at)
    assert second.most == 5


# ── As a process ─────────────────────────────────────────────────────────────────────────────────


def started(*arguments: str) -> tuple[subprocess.Popen[bytes], str]:
    command = [sys.executable, "-m", "tests.doubles.resend", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603 - our own module
    assert process.stdout is not None
    return process, orjson.loads(process.stdout.readline())["url"]


def ended(process: subprocess.Popen[bytes], number: int) -> int:
    os.kill(process.pid, number)
    assert process.stdout is not None
    process.stdout.close()
    return process.wait(10)


async def test_a_killed_double_knows_what_it_took(tmp_path):
    journal = tmp_path / "mails.jsonl"
    process, url = await asyncio.to_thread(started, "--journal", str(journal))
    mixed = [mail("a"), mail("b", to="rejected@x.test"), mail("c")]
    permissive = headers("k", **{"x-batch-validation": "permissive"})
    async with httpx.AsyncClient(trust_env=False) as client:
        first = await client.post(f"{url}/emails/batch", json=mixed, headers=permissive)
        alone = await client.post(f"{url}/emails", json=mail("d"), headers=headers("k"))
    await asyncio.to_thread(ended, process, signal.SIGKILL)
    with journal.open("ab") as half:
        half.write(b'{"ref":"never answ')

    assert len(journal.read_bytes().splitlines()) == 4
    process, url = await asyncio.to_thread(started, "--journal", str(journal))
    async with httpx.AsyncClient(trust_env=False) as client:
        again = await client.post(f"{url}/emails/batch", json=mixed, headers=permissive)
        alone_again = await client.post(f"{url}/emails", json=mail("d"), headers=headers("k"))
        await client.post(f"{url}/emails", json=mail("a"), headers=headers("k2"))
        report = (await client.get(f"{url}/_report")).json()
    assert await asyncio.to_thread(ended, process, signal.SIGTERM) == 0
    assert again.json()["data"] == first.json()["data"]
    assert all(orjson.loads(line) for line in journal.read_bytes().splitlines())
    assert [e["index"] for e in again.json()["errors"]] == [1]
    assert alone_again.json() == alone.json()
    assert (report["mails_accepted"], report["duplicates"]) == (4, 1)


async def test_switches_can_be_set_from_the_start():
    process, url = await asyncio.to_thread(
        started, "--set", "throttle_percent=100", "--set", "webhook_url=http://127.0.0.1:1/x"
    )
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{url}/emails", json=mail("a"), headers=headers("k"))
        faults = (await client.get(f"{url}/_faults")).json()
    assert await asyncio.to_thread(ended, process, signal.SIGTERM) == 0
    assert answer.status_code == 429
    assert faults["webhook_url"] == "http://127.0.0.1:1/x"
