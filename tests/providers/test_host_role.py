"""Amazon SES by the server's own role: found by botocore, renewed in time, asked for once, and only where lent."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.utils import ContainerMetadataFetcher

from postroom.errors import ProviderRefused, ProviderUnreachable
from postroom.providers import host_role as host_role_module
from postroom.providers import ses as ses_module
from postroom.providers.base import OutcomeKind
from postroom.providers.host_role import HostRole, HostRoleAway, NoHostRole
from postroom.providers.ses import Ses
from tests.doubles.aws_host import AwsHost, secret_of
from tests.doubles.ses import SesDouble
from tests.providers.contract import a_mail

NOWHERE = "/nonexistent/of-the-test"


@pytest.fixture
async def host() -> AsyncIterator[AwsHost]:
    async with AwsHost() as running:
        yield running


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without credentials, and a process that has not looked for any yet."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
    monkeypatch.setattr(ses_module, "HOST_ROLE", HostRole())


@pytest.fixture
def in_container(monkeypatch: pytest.MonkeyPatch, host: AwsHost) -> AwsHost:
    for name, value in host.as_container.items():
        monkeypatch.setenv(name, value)
    return host


@pytest.fixture
async def double() -> AsyncIterator[SesDouble]:
    names = [f"ASIATEST{n}" for n in range(1, 10)]
    async with SesDouble({name: secret_of(name) for name in names}) as running:
        yield running


def by_role(double: SesDouble, http: Any, **more: Any) -> Ses:
    given = {"region": "us-east-1", "credentials": "role", "hostRole": True}
    return Ses(given | {"endpointUrl": double.url} | more, http)


async def outcome(ses: Ses) -> Any:
    return (await ses.send([a_mail()], "key")).outcomes[0]


async def test_a_container_lends_its_role(in_container, double, http):
    assert (await outcome(by_role(double, http))).kind is OutcomeKind.ACCEPTED
    assert in_container.given == ["ASIATEST1"]


async def test_an_instance_lends_its_role(monkeypatch, host, double, http):
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    for name, value in host.as_instance.items():
        monkeypatch.setenv(name, value)
    assert (await outcome(by_role(double, http))).kind is OutcomeKind.ACCEPTED
    assert host.given == ["ASIATEST1"]


async def test_the_token_of_temporary_keys_is_signed_and_sent(in_container, double, http):
    seen: list[str] = []
    handle = double._server.handle

    def look(exchange: Any) -> None:
        seen.append(exchange.header(b"x-amz-security-token"))
        handle(exchange)

    double._server.handle = look
    assert (await outcome(by_role(double, http))).kind is OutcomeKind.ACCEPTED
    assert seen == ["token-of-ASIATEST1"]


async def test_renewed_keys_are_used_and_it_stays_the_same_account(
    monkeypatch, in_container, double, http
):
    monkeypatch.setattr(host_role_module, "HOLD_SECONDS", 0.0)
    in_container.minutes = 5  # botocore asks again each time
    ses = by_role(double, http)
    before = ses.fingerprint
    kinds = [(await outcome(ses)).kind for _ in range(2)]
    assert kinds == [OutcomeKind.ACCEPTED] * 2
    assert len(in_container.given) > 1
    assert ses.fingerprint == before == by_role(double, http).fingerprint
    other = Ses({"region": "us-east-1", "accessKeyId": "A", "secretAccessKey": "B"}, http)
    assert other.fingerprint != before


async def test_many_mails_at_once_ask_for_keys_once(in_container, double, http):
    in_container.seconds = 0.1
    ses = by_role(double, http)
    outcomes = await asyncio.gather(*(outcome(ses) for _ in range(50)))
    assert {o.kind for o in outcomes} == {OutcomeKind.ACCEPTED}
    assert len(in_container.given) == 1


async def test_nothing_else_waits_while_keys_are_asked_for(in_container, double, http):
    in_container.seconds = 1.0
    sending = asyncio.create_task(outcome(by_role(double, http)))
    loop, longest = asyncio.get_running_loop(), 0.0
    while not sending.done():
        before = loop.time()
        await asyncio.sleep(0.005)
        longest = max(longest, loop.time() - before)
    assert (await sending).kind is OutcomeKind.ACCEPTED
    # Loading botocore holds the interpreter for moments; the answer that takes a second does not.
    assert longest < 0.8


async def test_a_server_without_a_role_is_misconfigured_and_says_so(double, http):
    ses = by_role(double, http)
    found = await outcome(ses)
    assert (found.kind, found.code) == (OutcomeKind.MISCONFIGURED, "no_role")
    assert found.reason == "This server has no AWS credentials of its own."
    with pytest.raises(ProviderRefused, match="no AWS credentials of its own"):
        await ses.verify()
    assert double.calls == 0


async def test_a_role_that_appears_later_is_found(monkeypatch, host, double, http):
    ses = by_role(double, http)
    assert (await outcome(ses)).kind is OutcomeKind.MISCONFIGURED
    for name, value in host.as_container.items():
        monkeypatch.setenv(name, value)
    assert (await outcome(ses)).kind is OutcomeKind.ACCEPTED


async def test_who_gives_the_keys_may_be_away_and_nothing_was_sent(in_container, double, http):
    in_container.status = 500
    ses = by_role(double, http)
    found = await outcome(ses)
    assert (found.kind, found.code) == (OutcomeKind.NOT_SENT, "role_away")
    assert "127.0.0.1" not in (found.reason or "")
    with pytest.raises(ProviderUnreachable):
        await ses.verify()
    in_container.status = 200
    assert (await outcome(ses)).kind is OutcomeKind.ACCEPTED


async def test_keys_that_come_too_late_hold_up_no_mail_and_serve_the_next(
    monkeypatch, in_container, double, http
):
    monkeypatch.setattr(host_role_module, "WAIT_SECONDS", 0.1)
    in_container.seconds = 0.5
    ses = by_role(double, http)
    found = await outcome(ses)
    assert (found.kind, found.code) == (OutcomeKind.NOT_SENT, "role_away")
    await asyncio.sleep(0.7)
    assert (await outcome(ses)).kind is OutcomeKind.ACCEPTED
    assert len(in_container.given) == 1


async def test_without_the_extra_the_cure_is_named(monkeypatch, in_container, double, http):
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    found = await outcome(by_role(double, http))
    assert found.kind is OutcomeKind.MISCONFIGURED
    assert "postroom[aws]" in (found.reason or "")


async def test_a_role_that_was_not_lent_is_not_even_looked_for(in_container, double, http):
    ses = by_role(double, http, hostRole=False)
    found = await outcome(ses)
    assert (found.kind, found.code) == (OutcomeKind.MISCONFIGURED, "no_key")
    assert "not lent" in (found.reason or "")
    with pytest.raises(ProviderRefused, match="not lent"):
        await ses.verify()
    assert (in_container.given, double.calls) == ([], 0)


async def test_keys_of_its_own_never_become_the_servers(in_container, double, http):
    """An account whose keys went missing fails; it does not fall back to the role."""
    given = {"region": "us-east-1", "hostRole": True, "endpointUrl": double.url}
    assert (await outcome(Ses(given, http))).kind is OutcomeKind.MISCONFIGURED
    assert in_container.given == []


async def test_the_held_keys_are_not_shown(in_container):
    keys = await HostRole().keys()
    assert keys.access_key_id == "ASIATEST1"
    assert "ASIATEST1" not in repr(keys)
    assert "secret" not in repr(keys)


@pytest.mark.parametrize("wrong", [NoHostRole("none"), HostRoleAway("away")])
async def test_a_failure_is_told_to_everybody_and_not_kept(wrong):
    answers: list[Any] = [wrong]

    def find() -> Any:
        if answers:
            raise answers.pop()
        return Static()

    role = HostRole(find)
    told = await asyncio.gather(role.keys(), role.keys(), return_exceptions=True)
    assert told == [wrong, wrong]
    assert (await role.keys()).access_key_id == "A"


class Static:
    """Credentials that never change, as botocore shows them."""

    access_key, secret_key, token = "A", "B", None

    def get_frozen_credentials(self) -> "Static":
        return self
