"""What we say to Resend stands in Resend's own OpenAPI description, where a copy of it is at hand."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from postroom.providers.base import OutgoingMail
from postroom.providers.resend import build_call
from tests.providers.contract import a_mail, some_mails, with_attachment

COPY = os.environ.get("POSTROOM_RESEND_OPENAPI", "")

pytestmark = pytest.mark.skipif(
    not COPY, reason="POSTROOM_RESEND_OPENAPI names no copy of Resend's OpenAPI description"
)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return yaml.load(Path(COPY).read_bytes(), Loader=yaml.CSafeLoader)


def full_mail() -> OutgoingMail:
    return a_mail(bcc=("b@x.test",), attachments=with_attachment().attachments)


def test_every_path_we_call_is_described(described):
    for method, path in (
        ("post", "/emails"),
        ("post", "/emails/batch"),
        ("get", "/emails/{email_id}"),
        ("get", "/domains"),
    ):
        assert method in described["paths"][path]


def test_every_field_we_send_is_described(described):
    schemas = described["components"]["schemas"]
    path, body = build_call([full_mail()], 100)
    mail = orjson.loads(body)
    assert path in described["paths"]
    assert set(mail) <= set(schemas["SendEmailRequest"]["properties"])
    assert set(schemas["SendEmailRequest"]["required"]) <= set(mail)
    assert set(mail["attachments"][0]) <= set(schemas["Attachment"]["properties"])
    assert set(mail["tags"][0]) == set(schemas["Tag"]["properties"])


def test_a_batch_is_an_array_of_the_same_mails(described):
    path, body = build_call(some_mails(3), 100)
    schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert schema == {"type": "array", "items": {"$ref": "#/components/schemas/SendEmailRequest"}}
    assert len(orjson.loads(body)) == 3


def test_both_sends_take_an_idempotency_key(described):
    for path in ("/emails", "/emails/batch"):
        names = {p.get("name") for p in described["paths"][path]["post"]["parameters"]}
        assert "Idempotency-Key" in names
