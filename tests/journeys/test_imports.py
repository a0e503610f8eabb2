"""Contacts as a file: in by the door, made by the worker, out again."""

import csv
import io

import pytest

from postroom.domain import import_run
from postroom.domain.contact_files import csv_lines
from tests.journeys.people import call, make_audience

pytestmark = pytest.mark.journey

CSV = {"content-type": "text/csv"}


async def import_csv(world, project, audience, body: bytes, **query) -> str:
    made = await call(
        world,
        project,
        "POST",
        f"/audiences/{audience}/contacts/import",
        content=body,
        headers=CSV,
        params=query,
    )
    return made["id"]


async def finished(world, project, audience, import_id) -> dict:
    while await import_run.step(world.resources):
        pass
    found = await call(world, project, "GET", f"/audiences/{audience}/imports/{import_id}")
    assert found["status"] == "completed"
    counts = found["counts"]
    assert counts["total"] == found["rows"] == sum(counts.values()) - counts["total"]
    return found


async def contacts(world, project, audience) -> dict[str, dict]:
    page = await call(world, project, "GET", f"/audiences/{audience}/contacts")
    return {c["email"]: c for c in page["data"]}


async def test_a_file_becomes_contacts_and_a_bad_row_a_line_of_the_report(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["known@example.com", "left@example.com"])
    before = await contacts(world, project, audience)
    left = before["left@example.com"]["id"]
    await call(
        world,
        project,
        "PATCH",
        f"/audiences/{audience}/contacts/{left}",
        json={"unsubscribed": True},
    )
    body = (
        "\ufeffE-Mail;First Name;lastName;Unsubscribed;Favourite city\r\n"
        'ann@example.com;"Ann ""A""";Lee;;Oslo\r\n'
        "known@example.com;Kim;;;\r\n"
        "left@example.com;Lou;;false;\r\n"
        "not-an-address;X;;;\r\n"
        ";Nobody;;;\r\n"
        "out@example.com;;;maybe;\r\n"
        "gone@example.com;;;yes;\r\n"
        "ANN@example.com;Anna;;;Bergen\r\n"
    ).encode()
    import_id = await import_csv(world, project, audience, body)
    found = await finished(world, project, audience, import_id)
    assert found["counts"] == {"total": 8, "created": 2, "updated": 2, "skipped": 1, "failed": 3}
    assert [(r["line"], r["reason"]) for r in found["refused"]] == [
        (5, "This is not an address."),
        (6, "The row has no address."),
        (7, '"unsubscribed" must be true or false.'),
    ]
    now = await contacts(world, project, audience)
    assert now["left@example.com"]["unsubscribed"] is True
    assert now["left@example.com"]["first_name"] == "Lou"
    assert now["gone@example.com"]["unsubscribed"] is True
    ann = await call(
        world,
        project,
        "GET",
        f"/audiences/{audience}/contacts/{now['ANN@example.com']['id']}",
    )
    assert ann["first_name"] == "Anna"
    assert ann["properties"]["Favourite_city"]["value"] == "Bergen"


async def test_known_contacts_are_left_as_they_are_when_asked(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["known@example.com"])
    body = b"email,first_name\nknown@example.com,New\nfresh@example.com,F\n"
    import_id = await import_csv(world, project, audience, body, onConflict="skip")
    found = await finished(world, project, audience, import_id)
    assert (found["counts"]["created"], found["counts"]["skipped"]) == (1, 1)
    assert (await contacts(world, project, audience))["known@example.com"]["first_name"] is None


async def test_a_file_of_many_rows_comes_in_by_a_form_in_chunks_with_progress(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project)
    rows = "".join(f"p{i}@example.com,P{i}\n" for i in range(1200))
    made = await call(
        world,
        project,
        "POST",
        f"/audiences/{audience}/contacts/import",
        files={"file": ("people.csv", f"email,first_name\n{rows}", "text/csv")},
    )
    path = f"/audiences/{audience}/imports/{made['id']}"
    waiting = await call(world, project, "GET", path)
    assert (waiting["status"], waiting["rows"], waiting["counts"]["total"]) == ("queued", 1200, 0)
    assert await import_run.step(world.resources)
    halfway = await call(world, project, "GET", path)
    assert (halfway["status"], halfway["counts"]["created"]) == ("in_progress", 500)
    found = await finished(world, project, audience, made["id"])
    assert found["counts"]["created"] == 1200
    assert found["rows_per_second"] > 0
    listed = await call(world, project, "GET", f"/audiences/{audience}/imports")
    assert [i["id"] for i in listed["data"]] == [made["id"]]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_file"),
        (b"name,phone\nAnn,1\n", "no_email_column"),
        (b"email\n\xff\xfe\n", "not_utf8"),
        (b"email,email\na,b\n", "invalid_payload"),
        (b'email\n"' + b"x" * 200_000 + b'"\n', "not_csv"),
    ],
)
async def test_a_file_that_is_none_is_refused_and_leaves_nothing(world, body, code) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project)
    path = f"/audiences/{audience}/contacts/import"
    refused = await call(world, project, "POST", path, 400, content=body, headers=CSV)
    assert refused["code"] == code
    left = "select 1 from contact_imports where project_id = :p"
    assert await world.sql(left, p=project.id) == []


async def test_another_type_or_a_form_without_a_file_is_refused(world) -> None:
    project = await world.project("sandbox")
    path = f"/audiences/{await make_audience(world, project)}/contacts/import"
    await call(world, project, "POST", path, 415, json={})
    await call(world, project, "POST", path, 400, files={"other": b"x"})


async def test_an_export_comes_back_as_it_was_and_runs_nothing(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project)
    body = {"email": "ann@example.com", "firstName": "=HYPERLINK(1)", "properties": {"note": "-1"}}
    await call(world, project, "POST", f"/audiences/{audience}/contacts", json=body)
    answer = await world.client.get(
        f"/api/mail/audiences/{audience}/contacts/export", headers=project.key
    )
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows[0]["first_name"] == "'=HYPERLINK(1)"
    assert rows[0]["note"] == "'-1"
    other = await make_audience(world, project)
    import_id = await import_csv(world, project, other, answer.content)
    await finished(world, project, other, import_id)
    again = (await contacts(world, project, other))["ann@example.com"]
    assert again["first_name"] == "=HYPERLINK(1)"
    assert csv_lines([[-1, True, None]]) == b"-1,true,\r\n"


async def test_the_worker_does_imports_by_itself(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project)
    import_id = await import_csv(world, project, audience, b"email\na@example.com\n")

    async def done():
        path = f"/audiences/{audience}/imports/{import_id}"
        return (await call(world, project, "GET", path))["status"] == "completed"

    await world.until(done)
