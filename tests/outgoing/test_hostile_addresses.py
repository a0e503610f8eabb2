"""No address that a user gives leads into the operator's network: not by its spelling, not by its name."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from postroom.domain import addresses, credentials
from postroom.errors import InvalidPayload, Problem
from postroom.outgoing import Dialer, HostUnknown, Http, PrivateAddress
from postroom.outgoing.dial import resolve
from postroom.providers.base import OutcomeKind, Provider
from postroom.providers.paubox import Paubox
from postroom.providers.ses import Ses
from postroom.providers.smtp import Smtp
from tests.outgoing.listener import Listener
from tests.outgoing.spellings import LITERALS, NAMES, SPELLINGS, in_url
from tests.providers.contract import a_mail

SES = {"region": "eu-west-1", "accessKeyId": "AKIATEST", "secretAccessKey": "secret"}
SMTP = {"security": "tls", "username": "u", "password": "p"}

Open = Callable[[Http, str, int], Provider]
FIELDS: dict[str, Open] = {
    "paubox baseUrl": lambda http, host, port: Paubox(
        {"apiKey": "k", "baseUrl": f"http://{in_url(host)}:{port}/v1"}, http
    ),
    "ses endpointUrl": lambda http, host, port: Ses(
        {**SES, "endpointUrl": f"http://{in_url(host)}:{port}"}, http
    ),
    "smtp host": lambda http, host, port: Smtp({**SMTP, "host": host, "port": port}, http),
}
GIVEN: dict[str, Callable[[str], credentials.Fields]] = {
    "baseUrl": lambda host: credentials.PauboxFields(apiKey="k", baseUrl=f"https://{in_url(host)}"),
    "endpointUrl": lambda host: credentials.SesFields(
        **SES, endpointUrl=f"https://{in_url(host)}/x"
    ),
    "host": lambda host: credentials.SmtpFields(**SMTP, host=host, port=465),
}


async def names_and_numbers(host: str, port: int) -> Sequence[str]:
    return NAMES[host] if host in NAMES else await resolve(host, port)


class Script:
    """A name server that says something else each time; the last thing it says for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def listener():
    async with Listener() as running:
        yield running


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_a_private_address_is_ever_connected_to(field, host, listener):
    async with Http(Dialer(resolve=names_and_numbers)) as http:
        provider = FIELDS[field](http, host.lower(), listener.port)
        (outcome,) = (await provider.send([a_mail()], "key")).outcomes
        with pytest.raises(Problem) as refused:
            await provider.verify()
    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert outcome.code in {"private_address", "base_url"}
    told = f"{outcome.reason} {refused.value.message}"
    assert not any(
        address in told for address in NAMES.get(host.lower(), [host]) if len(address) > 2
    )
    assert listener.connections == 0


@pytest.mark.parametrize("field", GIVEN)
@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_a_private_address_can_be_set_up(field, host):
    given = GIVEN[field](host).addresses()
    with pytest.raises(InvalidPayload) as refused:
        await addresses.check(Dialer(resolve=names_and_numbers), given)
    assert refused.value.code == "private_address"
    assert refused.value.issues[0].path == field


@pytest.mark.parametrize("host", LITERALS)
async def test_the_system_reads_each_literal_of_the_list(host):
    """Else the list would prove nothing: an unreadable address is refused for another reason."""
    with pytest.raises(PrivateAddress):
        await Dialer().check(host)


@pytest.mark.parametrize("field", FIELDS)
async def test_the_operator_may_allow_private_addresses(field, listener):
    async with Http(Dialer(allow_private=True)) as http:
        await FIELDS[field](http, "127.0.0.1", listener.port).send([a_mail()], "key")
    assert listener.connections == 1


async def test_what_the_operator_named_may_be_anywhere_and_nothing_beside_it(listener):
    async with Listener() as beside:
        dialer = Dialer(trusted=frozenset({("127.0.0.1", listener.port)}))
        async with Http(dialer) as http:
            await FIELDS["paubox baseUrl"](http, "127.0.0.1", listener.port).send([a_mail()], "key")
            await FIELDS["paubox baseUrl"](http, "127.0.0.1", beside.port).send([a_mail()], "key")
        assert (listener.connections, beside.connections) == (1, 0)
        # To name it is the operator's right, not a user's.
        with pytest.raises(PrivateAddress):
            await dialer.check("127.0.0.1", listener.port)


# ── Names that change their mind ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("field", FIELDS)
async def test_a_name_that_turns_private_after_it_was_set_up_is_not_followed(field, listener):
    names = Script(["93.184.216.34"], ["127.0.0.1"])
    async with Http(Dialer(resolve=names)) as http:
        await http.dialer.check("rebinding.example")
        provider = FIELDS[field](http, "rebinding.example", listener.port)
        for _ in range(3):
            (outcome,) = (await provider.send([a_mail()], "key")).outcomes
            assert outcome.code == "private_address"
    assert listener.connections == 0
    assert names.asked == 4  # once at set-up, once at each attempt


@pytest.mark.parametrize("field", FIELDS)
async def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(field, listener):
    async with Listener(host="127.0.0.2", port=listener.port) as private:
        names = Script(["127.0.0.1"], ["127.0.0.2"])
        dialer = Dialer(resolve=names, is_public=lambda address: address == "127.0.0.1")
        async with Http(dialer) as http:
            provider = FIELDS[field](http, "rebinding.example", listener.port)
            await provider.send([a_mail()], "key")
            assert (names.asked, listener.connections) == (1, 1)
        async with Http(dialer) as http:
            await FIELDS[field](http, "rebinding.example", listener.port).send([a_mail()], "key")
        assert (names.asked, listener.connections, private.connections) == (2, 1, 0)


async def test_a_host_without_an_address_cannot_be_found():
    with pytest.raises(HostUnknown):
        await Dialer(resolve=Script([])).connect("nobody.example", 80, 1)


async def test_a_dead_address_leaves_time_for_the_next_one(listener):
    names = Script(["::1", "127.0.0.1"])
    dialer = Dialer(resolve=names, allow_private=True)
    sock = await dialer.connect("two.example", listener.port, 2)
    assert sock.getpeername()[0] == "127.0.0.1"
    sock.close()


# ── What leads elsewhere ─────────────────────────────────────────────────────────────────────────


async def test_redirects_are_not_followed_whatever_the_method(listener):
    async def moved(reader: Any, writer: Any) -> None:
        while True:
            await elsewhere.take(reader)
            head = f"HTTP/1.1 307 Moved\r\nlocation: {listener.url}/x\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())

    async with Listener(moved) as elsewhere, Http(Dialer(allow_private=True)) as http:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = await http.request(method, elsewhere.url, follow_redirects=True)
            assert answer.status_code == 307
        provider = FIELDS["ses endpointUrl"](http, "127.0.0.1", elsewhere.port)
        (outcome,) = (await provider.send([a_mail()], "key")).outcomes
    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert listener.connections == 0


async def test_proxies_of_the_environment_are_ignored(listener, monkeypatch):
    async with Listener() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        async with Http(Dialer(allow_private=True)) as http:
            assert (await http.get(f"{listener.url}/x")).status_code == 200
        assert (listener.connections, proxy.connections) == (1, 0)


async def test_a_cookie_of_one_account_is_not_sent_for_another():
    async def baker(reader: Any, writer: Any) -> None:
        while True:
            await bakery.take(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: who=jane\r\ncontent-length: 0\r\n\r\n")

    async with Listener(baker) as bakery, Http(Dialer(allow_private=True)) as http:
        for _ in range(2):
            await http.get(bakery.url)
    assert all(b"cookie" not in request.lower() for request in bakery.requests)
