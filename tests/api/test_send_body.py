"""What a client may say of a mail, and the sentence for everything else."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from postroom.api.mail_body import mailbox
from tests.factories import make_member, make_project

GOOD = {"to": "ann@example.com", "subject": "Hello", "text": "Hi"}
FAR = (datetime.now(UTC) + timedelta(days=31)).isoformat()
PDF = {"filename": "a.pdf", "content": base64.b64encode(b"x").decode()}


@pytest.fixture
async def project(resources):
    return await make_project(resources, provider="sandbox")


@pytest.mark.parametrize(
    ("change", "path", "sentence"),
    [
        ({"to": None}, "to", "Invalid recipient email format."),
        ({"to": []}, "to", "Invalid recipient email format."),
        ({"to": "nobody"}, "to", "Invalid recipient email format."),
        ({"to": "a@b"}, "to", "Invalid recipient email format."),
        ({"to": "a@b.c\r\nBcc: x@y.zz"}, "to", "Invalid recipient email format."),
        ({"to": ["ok@example.com", "two@@example.com"]}, "to.1", "Invalid recipient email format."),
        ({"to": 7}, "to", None),
        ({"cc": "x"}, "cc", "Invalid recipient email format."),
        ({"to": [f"u{i}@example.com" for i in range(51)]}, "to", None),
        ({"subject": ""}, "subject", "Subject is required."),
        ({"subject": "   "}, "subject", "Subject is required."),
        ({"subject": None}, "subject", "Subject is required."),
        ({"subject": "x" * 999}, "subject", '"subject" must have at most 998 characters.'),
        ({"subject": "a\nBcc: x@y.zz"}, "subject", "Line breaks are not allowed here."),
        ({"subject": 5}, "subject", '"subject" must be a string.'),
        ({"text": None}, "html", "Provide at least one of html or text content."),
        ({"text": " ", "html": ""}, "html", "Provide at least one of html or text content."),
        ({"headers": {"X-A": "b\r\nc"}}, "headers.X-A", "Line breaks are not allowed here."),
        ({"headers": {"Bcc": "x@y.zz"}}, "headers.Bcc", None),
        ({"headers": {"Ä": "b"}}, "headers", None),
        ({"headers": {"X-A": 5}}, "headers.X-A", None),
        ({"attachments": [PDF | {"content": "data:text/plain;base64,eA=="}]}, None, None),
        ({"attachments": [PDF | {"content": "not base64!"}]}, "attachments.0.content", None),
        ({"attachments": [PDF | {"filename": "a\nb"}]}, "attachments.0.filename", None),
        ({"attachments": [PDF | {"contentType": "nonsense"}]}, "attachments.0.contentType", None),
        ({"attachments": [{"filename": "a"}]}, "attachments.0.content", None),
        ({"tags": [{"name": "a b", "value": "c"}]}, "tags.0.name", None),
        ({"tags": [{"name": "a", "value": "b"}] * 11}, "tags", None),
        ({"scheduledAt": FAR}, "scheduledAt", "scheduledAt is at most 30 days ahead."),
        ({"scheduledAt": "tomorrow"}, "scheduledAt", None),
        ({"scheduledAt": 1795230533}, "scheduledAt", None),
        ({"subjct": "x"}, "subjct", 'Unknown field "subjct". Did you mean "subject"?'),
        ({"reply_to": "a@b.cc"}, "reply_to", 'Unknown field "reply_to". Did you mean "replyTo"?'),
    ],
)
async def test_what_is_wrong_is_said_where_it_is(client, project, change, path, sentence) -> None:
    answer = await client.post("/api/mail/send", json=GOOD | change, headers=project.key)
    assert answer.status_code == 400
    body = answer.json()
    assert body["message"] == body["issues"][0]["message"]
    assert body["message"].endswith((".", "?", ")"))
    if path is not None:
        assert path in {issue["path"] for issue in body["issues"]}
    if sentence is not None:
        assert sentence in {issue["message"] for issue in body["issues"]}


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null"])
async def test_what_is_no_object_is_no_mail(client, project, body) -> None:
    headers = project.key | {"content-type": "application/json"}
    answer = await client.post("/api/mail/send", content=body, headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (400, "Invalid mail payload.")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed_json"),
        (b'{"to": "\xff"}', "malformed_json"),
        (b'{"to": "a\\u0000b@example.com", "subject": "x", "text": "y"}', "nul_character"),
        (b"", "malformed_json"),
    ],
)
async def test_what_is_no_json_is_told_so(client, project, body, code) -> None:
    headers = project.key | {"content-type": "application/json"}
    answer = await client.post("/api/mail/send", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_another_content_type_and_a_huge_body_are_refused(client, project) -> None:
    form = await client.post("/api/mail/send", data={"to": "a@b.cc"}, headers=project.key)
    assert form.status_code == 415
    huge = project.key | {"content-type": "application/json", "content-length": "40000001"}
    answer = await client.post("/api/mail/send", content=b"{}", headers=huge)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann <ann@example.com>", "Ann <ann@example.com>"),
        ('"Lovelace, Ada" <ada@example.com>', '"Lovelace, Ada" <ada@example.com>'),
        ("<ann@example.com>", "ann@example.com"),
        ("Ännchen <a@example.com>", "Ännchen <a@example.com>"),
        ("o'hara+tag@sub.example.co.uk", "o'hara+tag@sub.example.co.uk"),
        # Looks like example.com and is not: it goes out in the form that shows it.
        ("a@\u0435xample.com", "a@xn--xample-2of.com"),
    ],
)
def test_an_address_goes_out_as_it_is_meant(given: str, taken: str) -> None:
    assert mailbox(given) == taken


async def test_a_past_time_means_now_and_a_time_without_zone_is_utc(client, project) -> None:
    past = await client.post(
        "/api/mail/send", json=GOOD | {"scheduledAt": "2020-01-01T00:00:00"}, headers=project.key
    )
    assert past.status_code == 200
    soon = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None, microsecond=0)
    later = await client.post(
        "/api/mail/send", json=GOOD | {"scheduledAt": soon.isoformat()}, headers=project.key
    )
    rows = (await client.get("/api/mail/logs", headers=project.key)).json()["data"]
    found = next(row for row in rows if row["id"] == later.json()["data"]["id"])
    assert found["scheduledAt"].startswith(soon.isoformat())


async def test_the_dashboards_door_sends_as_well_and_viewers_may_not(
    client, resources, project
) -> None:
    path = f"{project.path}/mail/send"
    assert (await client.post(path, json=GOOD, headers=project.owner.bearer)).status_code == 200
    viewer = await make_member(resources, project, "viewer")
    assert (await client.post(path, json=GOOD, headers=viewer.bearer)).status_code == 403


async def test_the_log_is_paged_and_filtered(client, project) -> None:
    ids = []
    for i in range(5):
        body = GOOD | {"to": f"u{i % 2}@example.com", "subject": f"Number {i} 100%"}
        answer = await client.post("/api/mail/send", json=body, headers=project.key)
        ids.append(answer.json()["data"]["id"])

    async def page(**query):
        answer = await client.get("/api/mail/logs", params=query, headers=project.key)
        return answer.json()

    first = await page(limit=2)
    assert [m["id"] for m in first["data"]] == ids[::-1][:2]
    second = await page(limit=2, cursor=first["pagination"]["nextCursor"])
    third = await page(limit=2, cursor=second["pagination"]["nextCursor"])
    assert [m["id"] for m in second["data"] + third["data"]] == ids[::-1][2:]
    assert third["pagination"] == {"nextCursor": None, "limit": 2}
    assert [m["id"] for m in (await page(to="U1@example.com"))["data"]] == [ids[3], ids[1]]
    assert [m["id"] for m in (await page(q="number 3"))["data"]] == [ids[3]]
    assert len((await page(q="100%"))["data"]) == 5
    assert (await page(q="1_0"))["data"] == []
    assert len((await page(status="queued,sent"))["data"]) == 5
    assert (await page(status="bounced"))["data"] == []
    assert len((await page(stream="transactional"))["data"]) == 5
    assert (await page(stream="bulk"))["data"] == []
    assert (await page(until="2020-01-01T00:00:00"))["data"] == []
    assert len((await page(**{"from": "2020-01-01T00:00:00Z"}))["data"]) == 5


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"cursor": "x"}, {"status": "lost"}, {"sttus": "x"}]
)
async def test_a_wrong_filter_is_said(client, project, query) -> None:
    answer = await client.get("/api/mail/logs", params=query, headers=project.key)
    assert answer.status_code == 400
    assert answer.json()["issues"]


async def test_a_mail_is_found_by_our_id_alone_and_by_its_own_project(
    client, resources, project
) -> None:
    answer = await client.post("/api/mail/send", json=GOOD, headers=project.key)
    mail_id = answer.json()["data"]["id"]
    found = await client.get(f"/api/mail/logs/{mail_id}/live", headers=project.key)
    assert found.json()["data"]["dbLog"]["id"] == mail_id
    assert found.json()["data"]["resendStatus"] is None
    other = await make_project(resources)
    for key, any_id, status in (
        (other.key, mail_id, 404),
        (project.key, "unknown-id", 404),
        (project.key, "bad!id", 400),
    ):
        answer = await client.get(f"/api/mail/logs/{any_id}", headers=key)
        assert answer.status_code == status
    other_owner = await client.get(
        f"{project.path}/mail/logs/{mail_id}", headers=other.owner.bearer
    )
    assert other_owner.status_code == 404
