"""`postroom templates import` brings templates along."""

import asyncio
import json
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from postroom.commands import templates
from postroom.domain import templates as kept_templates
from postroom.embedded.command import CommandFailed
from postroom.ids import new_id
from postroom.resources import open_resources
from postroom.settings import Settings
from tests.factories import make_project

Run = Callable[..., int]

SES_V2 = {
    "TemplateName": "OrderShipped",
    "TemplateContent": {
        "Subject": "Order {{id}}",
        "Text": "Dear {{name}}",
        "Html": "<p>Dear {{name}}</p>",
    },
}
SES_V1 = {"Template": {"TemplateName": "Old", "SubjectPart": "Hi", "TextPart": "x", "HtmlPart": ""}}
PAUBOX = {"id": 7, "name": "Visit", "api_customer_id": 1, "body": "<p>{{first_name}}</p>"}


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("JWT_SECRET", settings.jwt_secret.get_secret_value())
    monkeypatch.setenv("ENCRYPTION_KEY", settings.encryption_key.get_secret_value())

    def run(*argv: str) -> int:
        parser = ArgumentParser(prog="postroom")
        templates.configure(parser)
        return int(templates.run(parser.parse_args(["import", *argv])))

    return run


@pytest.fixture
def project_id(settings: Settings) -> str:
    async def make() -> str:
        async with open_resources(settings, pool_size=2) as resources:
            return str((await make_project(resources)).id)

    return asyncio.run(make())


def listed(settings: Settings, project_id: str) -> dict[str, Any]:
    async def fetch() -> dict[str, Any]:
        async with (
            open_resources(settings, pool_size=2) as resources,
            resources.sessions() as session,
        ):
            views = await kept_templates.list_own(session, UUID(project_id))
            found = [await kept_templates.get(session, UUID(project_id), v.id) for v in views]
            return {t.key: (t.name, t.subject, t.html, t.text) for t in found}

    return asyncio.run(fetch())


def written(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_the_templates_of_ses_are_kept(
    run: Run, settings: Settings, project_id: str, tmp_path: Path, capsys
) -> None:
    files = [written(tmp_path, "a.json", SES_V2), written(tmp_path, "b.json", [SES_V1])]
    assert run("--from", "ses", "--project", project_id, *files) == 0
    printed = capsys.readouterr().out
    assert "kept     OrderShipped\n" in printed
    assert "SES did not escape" in printed
    assert listed(settings, project_id) == {
        "ordershipped": ("OrderShipped", "Order {{id}}", "<p>Dear {{name}}</p>", "Dear {{name}}"),
        "old": ("Old", "Hi", None, "x"),
    }


def test_the_templates_of_paubox_are_kept(
    run: Run, settings: Settings, project_id: str, tmp_path: Path
) -> None:
    files = [
        written(tmp_path, "visit.json", PAUBOX),
        written(tmp_path, "Lab result.hbs", "<p>{{#if ok}}fine{{/if}}</p>"),
    ]
    assert run("--from", "paubox", "--project", project_id, *files) == 0
    assert listed(settings, project_id) == {
        "visit": ("Visit", "Visit", "<p>{{first_name}}</p>", None),
        "lab-result": ("Lab result", "Lab result", "<p>{{#if ok}}fine{{/if}}</p>", None),
    }


def test_what_cannot_be_kept_is_said_and_the_others_are_kept(
    run: Run, settings: Settings, project_id: str, tmp_path: Path, capsys
) -> None:
    with_partial = {
        "TemplateName": "Partial",
        "TemplateContent": {"Subject": "s", "Html": "{{> footer}}"},
    }
    file = written(tmp_path, "all.json", [SES_V2, with_partial, SES_V2])
    assert run("--from", "ses", "--project", project_id, file) == 1
    printed = capsys.readouterr().out
    assert "skipped  Partial: Line 1, column 1 of html: Partials are not supported." in printed
    assert "skipped  OrderShipped: Template name/key already exists." in printed
    assert set(listed(settings, project_id)) == {"ordershipped"}


@pytest.mark.parametrize(
    ("source", "content", "sentence"),
    [
        ("ses", "{", "is not valid JSON"),
        ("ses", {"x": 1}, "is no answer of GetEmailTemplate"),
        ("ses", [1], "is no answer of GetEmailTemplate"),
        ("ses", {"TemplateName": "x", "TemplateContent": "y"}, "is no answer of"),
        ("paubox", [{"id": 1, "name": "list only"}], "fetch each one by its id"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(
    run: Run, project_id: str, tmp_path: Path, source, content, sentence
) -> None:
    file = written(tmp_path, "x.json", content)
    with pytest.raises(CommandFailed, match=sentence):
        run("--from", source, "--project", project_id, file)


def test_a_missing_file_and_a_missing_project_are_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"nowhere\.json cannot be read"):
        run("--from", "ses", "--project", str(new_id()), str(tmp_path / "nowhere.json"))
    file = written(tmp_path, "a.json", SES_V2)
    with pytest.raises(CommandFailed, match="Project not found"):
        run("--from", "ses", "--project", str(new_id()), file)
