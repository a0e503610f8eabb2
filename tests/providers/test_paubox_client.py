"""What we send to Paubox is what Paubox's own published Python client sends, key by key.

`paubox_client_wire.json` holds what the client `paubox-python3` 1.0.1 put on the wire for the mails below, as
recorded by `test_the_client_still_sends_what_was_recorded`:

    python3 -m venv /tmp/paubox && /tmp/paubox/bin/pip install paubox-python3==1.0.1
    PAUBOX_CLIENT_PYTHON=/tmp/paubox/bin/python PAUBOX_CLIENT_RECORD=1 pytest tests/providers/test_paubox_client.py

The client is no dependency of the tests: it brings a package called `tests` into site-packages, and it was last
published in 2021. Where its Python is named, it is compared again, and it must understand what our double says.
It has no bulk call; those messages are compared one by one.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest

from postroom.providers.base import Attachment, OutcomeKind, OutgoingMail
from postroom.providers.paubox import Paubox
from tests.doubles.paubox import PauboxDouble
from tests.doubles.wire import Exchange, HttpServer

HERE = Path(__file__).parent
RECORDED = HERE / "paubox_client_wire.json"
CLIENT_PYTHON = os.environ.get("PAUBOX_CLIENT_PYTHON", "")
KEY = "pb-key"
TRACKING_ID = "3d38ab13-0af8-4028-bd45-52e882e0d584"
# Our own: it brings our id back in webhooks, and the client's words have no place for it.
OURS = "X-Postroom-Id"

_HTML = "<p>Grüße &amp; <b>results</b></p>"
_TEXT = "Grüße and results"
_PDF = {"fileName": "results.pdf", "contentType": "application/pdf", "content": "JVBERi0xLjQK"}

# Each mail twice: in our words, and in those of the client's `Mail`.
CASES: dict[str, tuple[OutgoingMail, dict[str, Any]]] = {
    "text alone": (
        OutgoingMail("ref-1", "hello@clinic.test", ("ann@x.test",), "Hello", text=_TEXT),
        {
            "from_": "hello@clinic.test",
            "subject": "Hello",
            "recipients": ["ann@x.test"],
            "content": {"text/plain": _TEXT},
            "optional_headers": {"forceSecureNotification": False},
        },
    ),
    "html and text": (
        OutgoingMail(
            "ref-2",
            "Clinic <hello@clinic.test>",
            ("Ann Roe <ann@x.test>", "bob@x.test"),
            "Grüße",
            html=_HTML,
            text=_TEXT,
        ),
        {
            "from_": "Clinic <hello@clinic.test>",
            "subject": "Grüße",
            "recipients": ["Ann Roe <ann@x.test>", "bob@x.test"],
            "content": {"text/plain": _TEXT, "text/html": _HTML},
            "optional_headers": {"forceSecureNotification": False},
        },
    ),
    "everything": (
        OutgoingMail(
            "ref-3",
            "hello@clinic.test",
            ("ann@x.test",),
            "Results",
            html=_HTML,
            text=_TEXT,
            cc=("cc@x.test",),
            bcc=("bcc@x.test",),
            reply_to=("desk@clinic.test",),
            attachments=(Attachment("results.pdf", _PDF["content"]),),
        ),
        {
            "from_": "hello@clinic.test",
            "subject": "Results",
            "recipients": ["ann@x.test"],
            "content": {"text/plain": _TEXT, "text/html": _HTML},
            "optional_headers": {
                "cc": ["cc@x.test"],
                "bcc": ["bcc@x.test"],
                "reply_to": "desk@clinic.test",
                "attachments": [_PDF],
                "forceSecureNotification": True,
            },
        },
    ),
}


class Recorder:
    """A server that takes whatever comes and remembers its shape."""

    def __init__(self) -> None:
        self._server = HttpServer(self._handle)
        self.requests: list[dict[str, Any]] = []

    async def __aenter__(self) -> "Recorder":
        await self._server.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._server.stop()

    @property
    def host(self) -> str:
        return f"{self._server.url}/v1/email"

    def _handle(self, exchange: Exchange) -> None:
        self.requests.append(
            {
                "method": exchange.method,
                "path": exchange.path,
                "query": exchange.query,
                "contentType": exchange.header(b"content-type"),
                "authorization": exchange.header(b"authorization"),
                "body": orjson.loads(exchange.body) if exchange.body else None,
            }
        )
        taken = {"sourceTrackingId": TRACKING_ID, "customHeaders": {}, "data": "Service OK"}
        receipt = {"sourceTrackingId": TRACKING_ID, "data": {"message": {"id": "<1@x.test>"}}}
        exchange.answer_json(200, taken if exchange.method == "POST" else receipt)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with Recorder() as running:
        yield running


def recorded(name: str) -> dict[str, Any]:
    """The two requests that the client made for a mail: the message and the question for its receipt."""
    found: dict[str, Any] = orjson.loads(RECORDED.read_bytes())[name]
    return found


def without_ours(message: dict[str, Any]) -> dict[str, Any]:
    message = deepcopy(message)
    del message["headers"][OURS]
    return message


def account(recorder: Recorder, http: Any, **more: Any) -> Paubox:
    return Paubox({"apiKey": KEY, "baseUrl": recorder.host, **more}, http)


@pytest.mark.parametrize("name", CASES)
async def test_a_message_of_ours_is_one_of_the_clients(recorder, http, name):
    mail, words = CASES[name]
    forced = words["optional_headers"]["forceSecureNotification"]
    answer = await account(recorder, http, forceSecureNotification=forced).send([mail], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
    (ours,), theirs = recorder.requests, recorded(name)["message"]
    assert {k: ours[k] for k in ("method", "path", "query", "contentType")} == {
        k: theirs[k] for k in ("method", "path", "query", "contentType")
    }
    assert without_ours(ours["body"]["data"]["message"]) == theirs["body"]["data"]["message"]
    assert set(ours["body"]) == set(theirs["body"])
    assert set(ours["body"]["data"]) == set(theirs["body"]["data"])


async def test_messages_of_a_bulk_call_are_the_clients_too(recorder, http):
    names = ["text alone", "html and text"]
    await account(recorder, http).send([CASES[name][0] for name in names], "key")
    (ours,) = recorder.requests
    assert ours["path"] == "/v1/email/bulk_messages"
    theirs = [recorded(name)["message"]["body"]["data"]["message"] for name in names]
    assert [without_ours(m) for m in ours["body"]["data"]["messages"]] == theirs


async def test_the_question_for_a_receipt_is_the_clients(recorder, http):
    await account(recorder, http).fetch_status(TRACKING_ID)
    (ours,), theirs = recorder.requests, recorded("everything")["receipt"]
    assert {k: ours[k] for k in ("method", "path", "query", "body")} == {
        k: theirs[k] for k in ("method", "path", "query", "body")
    }


async def test_the_key_goes_as_a_bearer_where_the_client_has_the_older_word(recorder, http):
    """Paubox's newer services take `Bearer` alone; its mail API takes both."""
    await account(recorder, http).send([CASES["text alone"][0]], "key")
    assert recorder.requests[0]["authorization"] == f"Bearer {KEY}"
    assert recorded("text alone")["message"]["authorization"] == f"Token token={KEY}"


async def _run_client(host: str) -> list[dict[str, Any]]:
    asked = {"host": host, "key": KEY, "mails": [words for _, words in CASES.values()]}
    process = await asyncio.create_subprocess_exec(
        CLIENT_PYTHON,
        str(HERE / "paubox_client.py"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath},
    )
    said, wrong = await asyncio.wait_for(process.communicate(orjson.dumps(asked)), 30)
    assert process.returncode == 0, wrong.decode()
    answers: list[dict[str, Any]] = orjson.loads(said)
    return answers


needs_client = pytest.mark.skipif(
    not CLIENT_PYTHON, reason="PAUBOX_CLIENT_PYTHON names no Python that has Paubox's client"
)


@needs_client
async def test_the_client_still_sends_what_was_recorded(recorder):
    await _run_client(recorder.host)
    pairs = zip(recorder.requests[::2], recorder.requests[1::2], strict=True)
    made = {
        name: {"message": message, "receipt": receipt}
        for name, (message, receipt) in zip(CASES, pairs, strict=True)
    }
    if os.environ.get("PAUBOX_CLIENT_RECORD"):
        RECORDED.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
    assert made == orjson.loads(RECORDED.read_bytes())


@needs_client
async def test_the_client_understands_our_double():
    async with PauboxDouble() as double:
        answers = await _run_client(double.url)
    assert len(double.mails) == len(CASES)
    for answer in answers:
        deliveries = answer["receipt"]["data"]["message"]["message_deliveries"]
        assert {d["status"]["deliveryStatus"] for d in deliveries} == {"delivered"}
        assert answer["sent"]["data"] == "Service OK"
