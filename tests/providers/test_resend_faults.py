"""The Resend provider against a real socket: lost answers, repeats, limits, and networks that fail halfway."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from postroom.errors import ProviderRefused, ProviderSlow, ProviderUnreachable
from postroom.ids import new_id
from postroom.providers import resend as resend_module
from postroom.providers.base import OutcomeKind, WebhookRequest
from postroom.providers.resend import Resend
from tests.doubles.resend import ResendDouble
from tests.doubles.wire import Exchange, HttpServer
from tests.providers.contract import a_mail, some_mails

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class Hasty(Resend):
    """Resend for callers who wait a moment only."""

    capabilities = replace(Resend.capabilities, call_timeout=0.25, batch_timeout=0.25)


@pytest.fixture
async def double():
    async with ResendDouble() as running:
        yield running


@pytest.fixture
def provider(double, http):
    return Hasty({"apiKey": "re_1", "baseUrl": double.url, "webhookSecret": SECRET}, http)


def kinds(answer) -> list[str]:
    return [str(outcome.kind) for outcome in answer.outcomes]


# ── Once, whatever happens to the answer ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 100])
async def test_mails_arrive_once_and_in_order(double, provider, count):
    answer = await provider.send(some_mails(count), str(new_id()))
    assert kinds(answer) == ["accepted"] * count
    assert [mail.ref for mail in double.mails] == [mail.ref for mail in some_mails(count)]
    assert [mail.id for mail in double.mails] == [o.provider_id for o in answer.outcomes]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "fault",
    [
        {"drop_after_accept": 1},
        {"drop_after_accept_percent": 100},
        {"drop_before_accept_percent": 100},
        {"hang_percent": 100},
        {"error": 1},
        {"error_percent": 100},
        {"error_after_accept_percent": 100},
        {"latency_ms": 400},
    ],
    ids=lambda fault: next(iter(fault)),
)
async def test_a_lost_answer_is_unknown_and_a_repeat_finds_it(double, provider, count, fault):
    key = str(new_id())
    double.faults.set(**fault)
    lost = await provider.send(some_mails(count), key)
    assert kinds(lost) == ["unknown"] * count
    double.faults.set(**dict.fromkeys(fault, 0))
    await asyncio.sleep(0.2)  # a vendor may still be at it when its caller has gone
    found = await provider.send(some_mails(count), key)
    assert kinds(found) == ["accepted"] * count
    report = double.report()
    assert report["mails_accepted"] == report["distinct_refs"] == count
    assert report["duplicates"] == report["repeated_key_bytes_differ"] == 0
    assert report["repeated_keys"] == 1


async def test_a_repeat_while_the_first_is_running_is_unknown(double, provider):
    double.faults.set(latency_ms=150)
    first, second = await asyncio.gather(
        provider.send(some_mails(2), "same"), provider.send(some_mails(2), "same")
    )
    assert sorted([kinds(first), kinds(second)]) == [["accepted"] * 2, ["unknown"] * 2]
    assert double.report()["mails_accepted"] == 2


async def test_other_bytes_under_the_key_raise_an_alarm(double, provider):
    await provider.send(some_mails(2), "same")
    answer = await provider.send(some_mails(3), "same")
    assert kinds(answer) == ["unknown"] * 3
    assert all(outcome.alarm for outcome in answer.outcomes)
    assert double.report()["repeated_key_bytes_differ"] == 1


# ── What a vendor says ───────────────────────────────────────────────────────────────────────────


async def test_only_the_bad_mails_of_a_batch_are_rejected(double, provider):
    mails = some_mails(4)
    mails[1] = a_mail(2, to=("rejected@x.test",))
    answer = await provider.send(mails, "key")
    assert kinds(answer) == ["accepted", "rejected", "accepted", "accepted"]
    assert answer.outcomes[1].reason == "Invalid `to` field: <address> is no address."
    assert [mail.ref for mail in double.mails] == [mails[n].ref for n in (0, 2, 3)]
    alone = await provider.send([mails[1]], "another key")
    assert kinds(alone) == ["rejected"]


async def test_an_unverified_domain_stops_the_account(double, provider):
    double.faults.set(unverified_domains=("clinic.test",))
    assert kinds(await provider.send(some_mails(2), "key")) == ["misconfigured"] * 2
    assert double.report()["mails_accepted"] == 0


async def test_the_limit_is_learned_before_it_is_met(double, provider):
    double.faults.set(rate_limit=3, retry_after=2)
    answers = [await provider.send([a_mail(n)], f"key-{n}") for n in range(8)]
    throttled = [answer for answer in answers if kinds(answer) == ["throttled"]]
    assert 2 <= len(throttled) <= 5  # the fixed window may turn once meanwhile
    assert {answer.limit for answer in answers} == {3.0}
    assert {answer.pause for answer in throttled} == {2.0}
    assert double.report()["max_calls_in_a_second"] == 8


async def test_a_scripted_refusal_is_given_so_often(double, provider):
    quota = {"status": 429, "name": "monthly_quota_exceeded", "message": "Used up.", "calls": 1}
    double.faults.set(answer=quota)
    answer = await provider.send(some_mails(2), "a")
    assert kinds(answer) == ["throttled"] * 2
    assert answer.pause > 1
    assert kinds(await provider.send(some_mails(2), "b")) == ["accepted"] * 2


@pytest.mark.parametrize(
    ("key", "status"), [("re_1", None), ("re_restricted_1", None), ("re_invalid_1", 401)]
)
async def test_credentials_are_tried_without_sending(double, http, key, status):
    provider = Resend({"apiKey": key, "baseUrl": double.url}, http)
    if status is None:
        await provider.verify()
    else:
        with pytest.raises(ProviderRefused) as refused:
            await provider.verify()
        assert refused.value.status == status
    assert double.report()["calls"] == 0


async def test_a_mail_is_followed_to_its_end(double, provider):
    double.faults.set(webhook_delay_ms=60)
    answer = await provider.send([a_mail(to=("bounced+1@x.test",))], "key")
    provider_id = answer.outcomes[0].provider_id
    assert (await provider.fetch_status(provider_id)).last_event == "sent"
    await asyncio.sleep(0.1)
    live = await provider.fetch_status(provider_id)
    assert live.last_event == "bounced"
    assert live.events[0].ref == a_mail().ref


async def test_what_it_tells_by_webhook_is_understood(double, provider):
    heard, complete = [], asyncio.Event()

    def receive(exchange: Exchange) -> None:
        headers = {name.decode(): value.decode() for name, value in exchange.headers.items()}
        heard.extend(provider.read_webhook(WebhookRequest(headers, exchange.body)))
        exchange.answer_json(200, {})
        if len(heard) == 10:
            complete.set()

    receiver = HttpServer(receive)
    await receiver.start()
    url = f"{receiver.url}/api/mail/webhook"
    double.faults.set(webhook_url=url, webhook_secret=SECRET, webhook_delay_ms=5)
    double.faults.set(webhook_duplicate_percent=100, webhook_shuffle=True)
    mails = [a_mail(1, to=("bounced@x.test",)), a_mail(2, to=("complained@x.test",))]
    await provider.send(mails, "key")
    async with asyncio.timeout(5):
        await complete.wait()
    await receiver.stop()
    told = {(event.ref, str(event.kind)) for event in heard}
    first, second = (mail.ref for mail in mails)
    assert told == {
        (first, "accepted"),
        (first, "hard_bounced"),
        (second, "accepted"),
        (second, "delivered"),
        (second, "complained"),
    }
    assert len({event.event_id for event in heard}) == 5
    assert double.report()["webhooks"]["sent"] == 10


# ── Networks ─────────────────────────────────────────────────────────────────────────────────────


async def test_nobody_there_is_provably_not_sent(http):
    async with ResendDouble() as gone:
        url = gone.url
    provider = Hasty({"apiKey": "re_1", "baseUrl": url}, http)
    assert kinds(await provider.send(some_mails(2), "key")) == ["not_sent"] * 2
    with pytest.raises(ProviderUnreachable):
        await provider.verify()


async def test_a_failed_tls_handshake_is_provably_not_sent(double, http):
    url = double.url.replace("http://", "https://")
    answer = await Hasty({"apiKey": "re_1", "baseUrl": url}, http).send(some_mails(2), "key")
    assert kinds(answer) == ["not_sent"] * 2


@pytest.mark.parametrize("base_url", ["api.resend.com", "ftp://127.0.0.1", "http://", "http://[::"])
async def test_an_address_that_is_none_is_a_wrong_setting(http, base_url):
    answer = await Hasty({"apiKey": "re_1", "baseUrl": base_url}, http).send(some_mails(2), "key")
    assert kinds(answer) == ["misconfigured"] * 2


@asynccontextmanager
async def a_server_that(behaves):
    """A raw server; `behaves` gets the writer once something was asked."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await behaves(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n"


async def cuts_the_body(writer):
    writer.write(HEAD + b'{"id": "49a')
    await writer.drain()


async def says_nothing_and_leaves(writer):
    pass


async def speaks_no_http(writer):
    writer.write(b"220 smtp.example.test ESMTP\r\n")
    await writer.drain()


async def trickles(writer):
    writer.write(HEAD)
    for _ in range(20):
        writer.write(b" ")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "behaviour", [cuts_the_body, says_nothing_and_leaves, speaks_no_http, trickles]
)
async def test_half_an_answer_is_unknown_and_never_outlasts_the_call(http, behaviour):
    async with a_server_that(behaviour) as url:
        provider = Hasty({"apiKey": "re_1", "baseUrl": url}, http)
        async with asyncio.timeout(0.6):
            answer = await provider.send(some_mails(2), "key")
    assert kinds(answer) == [OutcomeKind.UNKNOWN] * 2


async def test_a_question_is_not_waited_for_long(http, monkeypatch):
    monkeypatch.setattr(resend_module, "ASK_SECONDS", 0.2)
    async with a_server_that(trickles) as url:
        with pytest.raises(ProviderSlow):
            await Resend({"apiKey": "re_1", "baseUrl": url}, http).verify()
