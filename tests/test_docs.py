"""The pages say what the code does: routes, settings, providers, commands, and where links lead."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import AliasChoices

import postroom
from postroom.app import create_app
from postroom.cli import COMMANDS
from postroom.providers import PROVIDERS
from postroom.settings import Settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
_LEFT_OUT = {".venv", "node_modules", ".postroom", ".git", ".hypothesis", ".pytest_cache"}


def _read(*names: str) -> str:
    """These files one after the other; those that do not exist say nothing."""
    return "\n".join(p.read_text() for p in (ROOT / name for name in names) if p.exists())


def _pages() -> list[Path]:
    found = []
    for folder, inner, files in os.walk(ROOT):
        inner[:] = [name for name in inner if name not in _LEFT_OUT]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(found)


def _variable(name: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()


def test_every_route_is_in_the_api_page(settings: Settings) -> None:
    page = _read("docs/api.md")
    there = {
        f"{method.upper()} {path}"
        for path, methods in create_app(settings=settings).openapi()["paths"].items()
        for method in methods
    }
    assert sorted(r for r in there if f"`{r}`" not in page) == []
    told = re.findall(r"^### `([A-Z]+ /\S+)`", page, re.MULTILINE)
    assert sorted(set(told) - there) == [], "the page tells of routes that do not exist"
    assert len(told) == len(set(told)), "a route is told twice"


def test_every_setting_is_documented_and_in_the_example() -> None:
    page, example = _read("docs/configuration.md"), _read(".env.example")
    names = [_variable(name) for name in Settings.model_fields]
    assert [n for n in names if f"`{n}`" not in page] == []
    assert [n for n in names if not re.search(rf"^#?{n}=", example, re.MULTILINE)] == []


def test_documented_defaults_are_the_real_ones() -> None:
    page, example = _read("docs/configuration.md"), _read(".env.example")
    wrong = []
    for name, field in Settings.model_fields.items():
        if not isinstance(field.default, str | int | float) or field.default == "":
            continue
        value = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = re.search(rf"^#?{_variable(name)}=(.*)$", example, re.MULTILINE)
        assert shown is not None
        if shown[1] != str(value) or f"| `{_variable(name)}` | `{value}` |" not in page:
            wrong.append(name)
    assert wrong == []


def test_every_variable_of_the_example_is_documented() -> None:
    page = _read("docs/configuration.md")
    names = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", _read(".env.example"), re.MULTILINE)
    assert [n for n in names if f"`{n}`" not in page] == []


def test_every_provider_is_named() -> None:
    pages = _read("docs/configuration.md", "docs/providers.md").lower()
    assert [p.name for p in PROVIDERS if p.name not in pages] == []


def test_every_command_is_documented() -> None:
    pages = _read("docs/operations.md", "README.md")
    assert [c for c in COMMANDS if f"postroom {c}" not in pages] == []


def _anchor(heading: str) -> str:
    """The anchor that a heading gets on the pages of common forges."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def _without_code(page: str) -> str:
    return re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", _pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists():
            lost.append(link)
        elif anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", _without_code(target.read_text()), re.MULTILINE)
            if anchor not in map(_anchor, headings):
                lost.append(link)
    assert lost == []


def test_lock_files_record_no_address() -> None:
    locks = _read("requirements.lock"), _read("requirements-runtime.lock")
    assert all("==" in lock and "://" not in lock for lock in locks)
    assert '"resolved"' not in _read("dashboard/package-lock.json")


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    newest = re.search(r"^## (\S+)", _read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert project["version"] == postroom.__version__ == newest[1]


def test_decisions_are_numbered_without_gaps() -> None:
    names = sorted(p.name for p in (DOCS / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
