"""A template and variables become a mail."""

from typing import Any

import pytest

from tests.factories import MadeProject
from tests.journeys.conftest import World

pytestmark = pytest.mark.journey


async def make(world: World, project: MadeProject, **fields: Any) -> dict[str, Any]:
    fields = {"name": "Receipt", "subject": "Receipt {{no}}", "html": "<p>{{who}}</p>"} | fields
    answer = await world.client.post(
        f"{project.path}/mail/templates", json=fields, headers=project.owner.bearer
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["template"]


async def send(world: World, project: MadeProject, **fields: Any) -> Any:
    body = {"to": "ann@example.com"} | fields
    return await world.client.post("/api/mail/send", json=body, headers=project.key)


async def handed_over(world: World, project: MadeProject, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    await world.until_status(project, answer.json()["data"]["id"], "sent")
    return world.double.mails[-1].mail


async def test_a_templates_id_its_key_and_its_name_find_it(world, office) -> None:
    project = await world.project()
    template = await make(world, project, name="Our Receipt", key="receipt_v1", text="{{who}}")
    used = {"scope": "project", "id": template["id"], "key": "receipt_v1", "name": "Our Receipt"}
    for named in (
        {"templateId": template["id"]},
        {"templateId": template["id"].upper()},
        {"templateName": "receipt_v1"},
        {"templateName": "our receipt"},
        {"templateName": " OUR RECEIPT "},
    ):
        answer = await send(world, project, **named, variables={"no": 7, "who": "<Ada>"})
        mail = await handed_over(world, project, answer)
        assert answer.json()["data"]["templateUsed"] == used
        assert mail["subject"] == "Receipt 7"
        assert mail["html"] == "<p>&lt;Ada&gt;</p>"
        assert mail["text"] == "<Ada>"
        logged = await world.mail(project, answer.json()["data"]["id"])
        assert logged["templateUsed"] == used
        assert logged["subject"] == "Receipt 7"


async def test_a_projects_own_template_goes_before_a_global_one(world, office) -> None:
    project = await world.project()
    first = await send(world, project, templateName="OTP", variables={"otp": "123456"})
    assert first.json()["data"]["templateUsed"]["scope"] == "global"
    mail = await handed_over(world, project, first)
    assert mail["subject"] == "123456 is your verification code"
    await make(world, project, name="Codes", key="otp", subject="Own {{otp}}")
    second = await send(world, project, templateName="otp", variables={"otp": "123456"})
    assert second.json()["data"]["templateUsed"]["scope"] == "project"
    assert (await handed_over(world, project, second))["subject"] == "Own 123456"


async def test_what_the_request_says_itself_goes_before_the_template(world, office) -> None:
    project = await world.project()
    await make(world, project, text="Plain {{who}}")
    answer = await send(
        world,
        project,
        templateName="receipt",
        subject="Mine {{no}}",
        html="",
        text="Direct {{who}}",
        variables={"no": 1, "who": "Ada"},
    )
    mail = await handed_over(world, project, answer)
    assert (mail["subject"], mail["html"], mail["text"]) == ("Mine 1", "<p>Ada</p>", "Direct Ada")


async def test_direct_texts_are_rendered_only_when_there_are_variables(world, office) -> None:
    project = await world.project()
    texts = {"subject": "{{a}}", "html": "<b>{{a}}</b>{{{a}}}", "text": "{{a}}"}
    as_it_is = await handed_over(world, project, await send(world, project, **texts))
    assert as_it_is["html"] == texts["html"]
    assert as_it_is["subject"] == "{{a}}"
    rendered = await send(world, project, **texts, variables={"a": "&"})
    mail = await handed_over(world, project, rendered)
    assert (mail["subject"], mail["html"], mail["text"]) == ("&", "<b>&amp;</b>&", "&")
    assert "templateUsed" not in rendered.json()["data"]
    # The template's own texts are rendered in any case, direct ones beside them are not.
    await make(world, project)
    answer = await send(world, project, templateName="receipt", subject="{{no}}")
    mail = await handed_over(world, project, answer)
    assert (mail["subject"], mail["html"]) == ("{{no}}", "<p></p>")


async def test_a_rendered_subject_is_one_line(world, office) -> None:
    project = await world.project()
    answer = await send(
        world,
        project,
        subject="Hi {{name}}",
        text="x",
        variables={"name": "Ada\r\nBcc: eve@example.com\nX: y"},
    )
    mail = await handed_over(world, project, answer)
    assert mail["subject"] == "Hi Ada Bcc: eve@example.com X: y"


@pytest.mark.parametrize(
    ("fields", "message", "code"),
    [
        (
            {"templateId": "a" * 24, "templateName": "x"},
            "Provide only one of templateId or templateName.",
            "invalid_payload",
        ),
        ({"templateId": "a" * 24}, "Template not found.", "template_not_found"),
        ({"templateId": "nonsense"}, "Template not found.", "template_not_found"),
        ({"templateName": "nobody"}, "Template not found.", "template_not_found"),
        ({"templateName": " "}, "Subject is required.", "invalid_payload"),
        (
            {"subject": "{{a}}", "text": "x", "variables": {}},
            "Subject is required.",
            "invalid_payload",
        ),
        (
            {"subject": "s", "html": "{{a}}", "variables": {}},
            "Provide at least one of html or text content.",
            "invalid_payload",
        ),
        (
            {"subject": "s", "html": "{{#if a}}", "variables": {}},
            'Line 1, column 1 of html: "{{#if}}" is never closed.',
            "invalid_template",
        ),
        (
            {"subject": "{{a}}", "text": "x", "variables": {"a": "x" * 999}},
            '"subject" must have at most 998 characters once it is rendered.',
            "invalid_payload",
        ),
        (
            {"subject": "s", "text": "x", "variables": [1]},
            '"variables" must be an object.',
            "invalid_payload",
        ),
        (
            {"subject": "s", "text": "{{#each a}}{{#each ../a}}{{#each ../../a}}x{{/each}}{{/each}}{{/each}}",
             "variables": {"a": [1] * 100 + [2]}},
            "This template takes too long to render. Look at the loops.",
            "template_over_budget",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_filled_is_refused_and_costs_no_slot(
    world, fields, message, code
) -> None:
    project = await world.project("sandbox")
    answer = await send(world, project, **fields)
    assert answer.status_code == 400
    assert answer.json()["message"] == message
    assert answer.json()["code"] == code
    assert await world.used(project) == 0


async def test_a_template_of_another_project_is_not_found(world) -> None:
    project, other = await world.project("sandbox"), await world.project("sandbox")
    template = await make(world, other)
    for named in ({"templateId": template["id"]}, {"templateName": "receipt"}):
        answer = await send(world, project, **named)
        assert answer.json()["message"] == "Template not found."


async def test_a_mail_that_was_accepted_keeps_the_words_of_its_template(world, office) -> None:
    project = await world.project()
    template = await make(world, project, subject="Before")
    answer = await send(world, project, templateName="receipt", scheduledAt="2000-01-01T00:00:00Z")
    path = f"{project.path}/mail/templates/{template['id']}"
    await world.client.patch(path, json={"subject": "After"}, headers=project.owner.bearer)
    assert (await handed_over(world, project, answer))["subject"] == "Before"
