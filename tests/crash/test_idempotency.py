"""One Idempotency-Key, one mail, one answer: whoever asks, however often, and whatever dies meanwhile."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from tests.crash.conftest import Place

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash")]

CLIENTS = 50
MAIL = {"to": "ann@example.com", "subject": "Once", "text": "Hello"}


async def post(port: int, key: str, mail: dict[str, Any], once: str) -> httpx.Response:
    url = f"http://127.0.0.1:{port}/api/mail/send"
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        return await http.post(url, json=mail, headers={"x-api-key": key, "Idempotency-Key": once})


async def test_fifty_clients_with_one_key_at_two_processes_make_one_mail_and_hear_one_answer(
    place: Place, kept: Any
):
    tenant = await place.tenant("resend")
    ports = tuple(place.rig.api_ports)
    # Each client of its own connection, all under the same key: the number of the request.
    everyone = [place.clients(tenant, *ports) for _ in range(CLIENTS)]
    for place_in_line, one in enumerate(everyone):
        one.prefix, one.ports = "the-same", ports[place_in_line % 2 :] + ports[: place_in_line % 2]
    answers = await asyncio.gather(*(one.send([7], 1) for one in everyone))
    assert len({a.bodies[7] for a in answers}) == 1
    # Every client but the one whose request became the mail was told that it heard a repeat.
    assert sum(a.replayed for a in answers) == CLIENTS - 1
    await place.worker()
    await place.settled()
    counts = await place.count(tenant, answers[0])
    kept(counts, 1)
    assert (await tenant.vendor.report())["mails_accepted"] == 1


async def test_a_client_whose_api_died_after_the_commit_gets_the_first_answer_when_it_asks_again(
    place: Place,
):
    tenant = await place.tenant("resend")
    doomed, port = await place.doomed_api("mails-committed")
    with pytest.raises(httpx.TransportError):
        await post(port, tenant.key, MAIL, "interrupted")
    await place.died(doomed, "mails-committed")
    (kept_id,) = await place.rig.sql(
        "select id, (select answer::text from idempotency_keys where project_id = $1::uuid) as answer"
        " from mail_logs where project_id = $1::uuid",
        tenant.project_id,
    )
    again = await post(place.rig.api_ports[0], tenant.key, MAIL, "interrupted")
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["data"]["id"] == str(kept_id["id"])
    assert again.json() == orjson.loads(kept_id["answer"])
    assert await place.in_the_log(tenant) == 1


async def test_a_keys_first_answer_survives_a_restart_and_flushall_and_another_body_stays_refused(
    place: Place,
):
    tenant = await place.tenant("resend")
    victim, port = place.rig.apis[1], place.rig.api_ports[1]
    first = await post(port, tenant.key, MAIL, "kept")
    assert first.status_code == 200
    assert "idempotent-replayed" not in first.headers
    await victim.kill()
    await place.redis("FLUSHALL")
    await place.rig.add_api(port)
    again = await post(port, tenant.key, MAIL, "kept")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    other = await post(port, tenant.key, MAIL | {"subject": "Twice"}, "kept")
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_mismatch"
    assert await place.in_the_log(tenant) == 1


async def test_of_two_bodies_that_race_under_one_key_one_is_sent_and_the_other_refused(
    place: Place,
):
    tenant = await place.tenant("resend")
    ports = tuple(place.rig.api_ports)
    bodies = [MAIL, MAIL | {"subject": "Another"}]

    async def ask(n: int) -> httpx.Response:
        while True:
            answer = await post(ports[n // 2 % 2], tenant.key, bodies[n % 2], "raced")
            busy = answer.status_code == 409 and answer.json()["code"] == "idempotency_in_progress"
            if not busy and answer.status_code != 503:
                return answer

    answers = await asyncio.gather(*(ask(n) for n in range(20)))
    by_body = [{(a.status_code, a.content) for a in answers[n::2]} for n in range(2)]
    # All who sent the same body heard the same: one of the two became the mail.
    assert [len(told) for told in by_body] == [1, 1]
    assert sorted(status for told in by_body for status, _ in told) == [200, 409]
    assert await place.in_the_log(tenant) == 1
