"""The commands: what they print, and how they fail."""

import asyncio
import json
from argparse import ArgumentParser
from collections.abc import Callable
from types import ModuleType

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from postroom.commands import account, api, doctor, migrate, prepare, project, reseal, schema
from postroom.embedded.command import CommandFailed
from postroom.errors import SettingsMissing
from postroom.ids import new_id

Run = Callable[..., int]

DEMO = {
    "POSTROOM_DEMO_EMAIL": "demo@postroom.test",
    "POSTROOM_DEMO_PASSWORD": "a demo password",
    "POSTROOM_DEMO_SECRET_KEY": "sk_live_" + "s" * 43,
    "POSTROOM_DEMO_PUBLISHABLE_KEY": "pk_live_" + "p" * 43,
}


@pytest.fixture
def environment(
    servers: tuple[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    for name, value in {
        "DATABASE_URL": database_url,
        "REDIS_URL": servers[1],
        "JWT_SECRET": "j" * 40,
        "ENCRYPTION_KEY": "11" * 32,
        "MAIL_PROVIDER": "sandbox",
        "EMAIL_FROM": "dev@postroom.test",
        "ALLOW_PRIVATE_ADDRESSES": "true",
        **DEMO,
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def run(environment: pytest.MonkeyPatch) -> Run:
    def run(command: ModuleType, *argv: str) -> int:
        parser = ArgumentParser(prog="postroom")
        command.configure(parser)
        return int(command.run(parser.parse_args(argv)))

    return run


def ask(url: str, statement: str, *values: object) -> list[asyncpg.Record]:
    async def fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def project_id_of(capsys: pytest.CaptureFixture[str]) -> str:
    return str(json.loads(capsys.readouterr().out.splitlines()[-1])["project_id"])


def test_the_newest_revision_is_the_one_that_alembic_knows() -> None:
    scripts = ScriptDirectory.from_config(Config(schema.folder() / "alembic.ini"))
    assert schema.head() == scripts.get_current_head()


def test_an_empty_database_is_migrated_and_a_second_time_left_alone(
    run: Run, environment: pytest.MonkeyPatch, database_url: str
) -> None:
    ask(database_url, "drop database if exists postroom_empty with (force)")
    ask(database_url, "create database postroom_empty")
    url = database_url.rsplit("/", 1)[0] + "/postroom_empty"
    environment.setenv("DATABASE_URL", url)
    with pytest.raises(CommandFailed, match=r"never migrated.*postroom migrate"):
        run(reseal)
    for _ in range(2):
        assert run(migrate) == 0
    assert asyncio.run(schema.current(url)) == schema.head()
    ask(database_url, "drop database postroom_empty with (force)")


def test_preparing_twice_makes_one_demo_project_with_exactly_these_keys(
    run: Run, capsys: pytest.CaptureFixture[str], database_url: str
) -> None:
    assert run(prepare) == 0
    first = project_id_of(capsys)
    assert run(prepare) == 0
    assert project_id_of(capsys) == first
    rows = ask(
        database_url,
        "select p.plan, p.name, c.provider, p.mail_connection_id = c.id sends from projects p"
        " join connections c on c.project_id = p.id where p.id = $1::uuid",
        first,
    )
    assert [tuple(row) for row in rows] == [("pro", "Demo project", "sandbox", True)]


def test_new_secrets_of_a_data_directory_replace_the_old_keys(
    run: Run,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database_url: str,
) -> None:
    run(prepare)
    first = project_id_of(capsys)
    environment.setenv("POSTROOM_DEMO_SECRET_KEY", "sk_live_" + "t" * 43)
    run(prepare)
    assert project_id_of(capsys) == first
    found = ask(
        database_url,
        "select 1 from projects where secret_hash = sha256($1::text::bytea)",
        DEMO["POSTROOM_DEMO_SECRET_KEY"],
    )
    assert found == []


def test_an_account_and_a_project_are_made_from_the_command_line(
    run: Run,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    email = f"cli-{new_id().hex[-8:]}@postroom.test"
    environment.setattr("sys.stdin", _Typed("a long enough password"))
    assert run(account, "create", email) == 0
    with pytest.raises(CommandFailed, match="exists already"):
        run(account, "create", email)
    assert run(project, "create", "Shop", "--owner", email, "--plan", "pro") == 0
    printed = capsys.readouterr().out
    assert "sk_live_" in printed
    project_id = printed.split("Project ")[1].split()[0]
    assert run(project, "set-plan", project_id, "free") == 0
    assert run(project, "rotate-key", project_id) == 0
    assert "sk_live_" in capsys.readouterr().out
    with pytest.raises(CommandFailed, match="There is no account"):
        run(project, "create", "Shop", "--owner", "nobody@postroom.test")
    with pytest.raises(CommandFailed, match="Project not found"):
        run(project, "set-plan", str(new_id()), "free")


class _Typed:
    """A standard input with one line in it, each time it is asked."""

    def __init__(self, line: str) -> None:
        self._line = line

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        return self._line + "\n"


def test_a_short_password_makes_no_account(run: Run, environment: pytest.MonkeyPatch) -> None:
    environment.setattr("sys.stdin", _Typed("short"))
    with pytest.raises(CommandFailed, match="at least 12"):
        run(account, "create", "short@postroom.test")


def test_resealing_under_the_only_key_finds_nothing_to_do(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(reseal)
    told = capsys.readouterr().out
    # Other tests leave a value behind that no key opens.
    assert "sealed under the first key" in told or (code == 1 and "left as they are" in told)
    assert "connections        0" in told


def test_the_doctor_finds_a_good_set_up_good(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(doctor)
    told = capsys.readouterr().out
    assert "Nothing to mend." in told or code == 1
    assert f"at revision {schema.head()}" in told
    assert "noeviction" in told


def test_the_doctor_names_what_is_missing_and_the_cure(
    run: Run, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("MAIL_PROVIDER", "resend")
    environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    environment.setenv("DATABASE_URL", "postgresql://ann:hunter2@127.0.0.1:1/x")
    environment.delenv("ALLOW_PRIVATE_ADDRESSES")
    assert run(doctor) == 1
    told = capsys.readouterr().out
    for sentence in (
        "RESEND_API_KEY is not set",
        "which no vendor can reach",
        "cannot be reached: Connection refused. Check DATABASE_URL.",
        "Check REDIS_URL.",
        "4 to mend.",
    ):
        assert sentence in told
    assert "hunter2" not in told


def test_a_missing_setting_is_named(run: Run, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("JWT_SECRET")
    with pytest.raises(SettingsMissing, match="JWT_SECRET is not set"):
        run(api)
    environment.delenv("DATABASE_URL")
    with pytest.raises(SettingsMissing, match="DATABASE_URL is not set"):
        run(migrate)
    environment.delenv("POSTROOM_DEMO_EMAIL")
    with pytest.raises(SettingsMissing):
        run(prepare)
