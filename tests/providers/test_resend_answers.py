"""What Resend's answers mean, whatever their shape, and how the account may be called from then on."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from postroom.providers.base import OutcomeKind
from postroom.providers.resend_answers import seconds_until_quota
from tests.providers.contract import a_mail, some_mails
from tests.providers.resend_wire import error

REJECTED, UNKNOWN = OutcomeKind.REJECTED, OutcomeKind.UNKNOWN

# ── Permissive batches ───────────────────────────────────────────────────────────────────────────


async def test_refused_mails_are_found_by_their_place(wire, resend):
    errors = [
        {"index": 3, "message": "Invalid `to` field: canary@patients.test is none."},
        {"index": 0, "message": "Missing `from`."},
    ]
    data = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    wire.answer(httpx.Response(200, json={"data": data, "errors": errors}))
    answer = await resend.send(some_mails(5), "key")
    kinds = [(outcome.kind, outcome.provider_id) for outcome in answer.outcomes]
    accepted = OutcomeKind.ACCEPTED
    expected = [(REJECTED, None), (accepted, "a"), (accepted, "b")]
    assert kinds == [*expected, (REJECTED, None), (accepted, "c")]
    assert answer.outcomes[3].reason == "Invalid `to` field: <address> is none."
    assert not answer.whole_call


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"id": "a"}]},
        {"data": [{"id": "a"}, {"id": "b"}, {"id": "c"}]},
        {"data": [{"id": "a"}, {"id": "a"}]},
        {"data": [{"id": "a"}, {"id": None}]},
        {"data": [{"id": "a"}, "b"]},
        {"data": [{"id": "a"}], "errors": [{"index": 2, "message": "x"}]},
        {"data": [{"id": "a"}], "errors": [{"index": "1", "message": "x"}]},
        {"data": [{"id": "a"}], "errors": [{"index": True, "message": "x"}]},
        {"data": [], "errors": [{"index": 1, "message": "x"}, {"index": 1, "message": "x"}]},
        {"data": {"id": "a"}},
        {"data": [{"id": "a"}, {"id": "b"}], "errors": "none"},
        {},
    ],
)
async def test_an_answer_that_does_not_add_up_says_nothing_about_any_mail(wire, resend, body):
    wire.answer(httpx.Response(200, json=body))
    answer = await resend.send(some_mails(2), "key")
    assert [outcome.kind for outcome in answer.outcomes] == [UNKNOWN] * 2
    # Under this key the same answer would come again.
    assert all(outcome.alarm for outcome in answer.outcomes)


async def test_only_other_bytes_under_our_key_raise_an_alarm_among_the_conflicts(wire, resend):
    for name, alarm in (("invalid_idempotent_request", True), ("resource_locked", False)):
        wire.answer(error(409, name))
        answer = await resend.send(some_mails(2), "key")
        assert [outcome.alarm for outcome in answer.outcomes] == [alarm] * 2
        assert answer.outcomes[0].code == name


# ── Errors of every shape ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"name":"x","message":"Too big."}', "Too big."),
        (b'{"error":{"name":"x","message":"Too big."}}', "Too big."),
        (b'{"error":"Too big."}', "Too big."),
        (b'{"errors":[{"message":"Too big."},{"message":"b"}]}', "Too big."),
        (b'[{"message":"Too big."}]', "Too big."),
        (b'"Too big."', "Too big."),
        (b"Too\n big.", "Too big."),
        (b'{"message":"Too \\u0000big."}', "Too big."),
        (b'{"message":["x"]}', "Resend answered HTTP 422."),
        (b"[]", "Resend answered HTTP 422."),
        (b"", "Resend answered HTTP 422."),
        (b"\xff\xfe", None),
    ],
)
async def test_an_error_is_read_whatever_its_shape(wire, resend, content, sentence):
    wire.answer(httpx.Response(422, content=content))
    answer = await resend.send([a_mail()], "key")
    assert answer.outcomes[0].kind is REJECTED
    assert sentence is None or answer.outcomes[0].reason == sentence


# ── How the account may be called ────────────────────────────────────────────────────────────────

LIMITS = {"ratelimit-limit": "10", "ratelimit-remaining": "3", "ratelimit-reset": "1"}


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        (LIMITS | {"ratelimit-policy": "10;w=1"}, 10.0),
        (LIMITS | {"ratelimit-policy": "10;w=2"}, 5.0),
        (LIMITS | {"ratelimit-policy": "100;w=86400, 10;w=5;burst=3"}, 2.0),
        (LIMITS, 10.0),
        ({"ratelimit-limit": "10, 10;w=1"}, 10.0),
        ({"ratelimit-limit": "10", "ratelimit-policy": "10;w=0"}, 10.0),
        ({"ratelimit-limit": "many"}, None),
        ({"ratelimit-limit": "0"}, None),
        ({"ratelimit-limit": "-3"}, None),
        ({"ratelimit-limit": "inf"}, None),
        ({}, None),
    ],
)
async def test_the_limit_is_learned_from_each_answer(wire, resend, headers, limit):
    wire.answer(httpx.Response(200, json={"id": "a"}, headers=headers))
    answer = await resend.send([a_mail()], "key")
    assert answer.limit == limit
    assert answer.pause is None


@pytest.mark.parametrize(
    ("status", "headers", "spent"),
    [
        (200, {"ratelimit-remaining": "0", "ratelimit-reset": "1"}, 1.0),
        (422, {"ratelimit-remaining": "0", "ratelimit-reset": "1"}, 1.0),
        (429, {"ratelimit-remaining": "0", "ratelimit-reset": "1"}, None),
        (200, {"ratelimit-remaining": "0", "ratelimit-reset": "99999999999"}, 32 * 86400.0),
        (200, {"ratelimit-remaining": "0"}, None),
        (200, {"ratelimit-remaining": "1", "ratelimit-reset": "1"}, None),
    ],
)
async def test_a_window_of_which_nothing_is_left_is_told(wire, resend, status, headers, spent):
    wire.answer(httpx.Response(status, json={"id": "a"}, headers=headers))
    assert (await resend.send([a_mail()], "key")).spent == spent


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [
        (429, {"retry-after": "7"}, 7.0),
        (429, {"retry-after": "0.5", "ratelimit-reset": "3"}, 0.5),
        (429, {"ratelimit-reset": "3"}, 3.0),
        (429, {}, None),
        (429, {"retry-after": "soon"}, None),
        (429, {"retry-after": "99999999999"}, 32 * 86400.0),
        (200, {"ratelimit-remaining": "0", "ratelimit-reset": "1"}, None),
        (200, {"retry-after": "7"}, None),
        (503, {"retry-after": "7"}, None),
    ],
)
async def test_a_pause_is_kept_when_it_is_asked_for(wire, resend, status, headers, pause):
    wire.answer(httpx.Response(status, json={"id": "a"}, headers=headers))
    assert (await resend.send([a_mail()], "key")).pause == pause


async def test_retry_after_may_be_a_date(wire, resend):
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    wire.answer(httpx.Response(429, headers={"retry-after": at}))
    pause = (await resend.send([a_mail()], "key")).pause
    assert 25 < pause <= 30


@pytest.mark.parametrize(
    ("name", "now", "seconds"),
    [
        ("daily_quota_exceeded", datetime(2026, 11, 20, 23, 59, 0, tzinfo=UTC), 61),
        ("monthly_quota_exceeded", datetime(2026, 11, 30, 23, 59, 0, tzinfo=UTC), 61),
        ("monthly_quota_exceeded", datetime(2026, 12, 31, 23, 59, 0, tzinfo=UTC), 61),
        ("monthly_quota_exceeded", datetime(2027, 2, 1, tzinfo=UTC), 28 * 86400 + 1),
    ],
)
def test_a_used_up_quota_waits_for_the_utc_day_or_month_to_turn(name, now, seconds):
    assert seconds_until_quota(name, now) == seconds


async def test_a_used_up_quota_pauses_far_longer_than_a_crowded_second(wire, resend):
    tired = error(429, "daily_quota_exceeded", "You have reached your daily email quota.")
    tired.headers["retry-after"] = "1"
    wire.answer(tired)
    answer = await resend.send(some_mails(2), "key")
    assert 0 < seconds_until_quota("daily_quota_exceeded", datetime.now(UTC)) <= answer.pause + 1
    assert answer.outcomes[0].code == "daily_quota_exceeded"
    assert answer.outcomes[0].reason == "You have reached your daily email quota."
