"""What the environment may say."""

import pytest

from postroom.errors import SettingsMissing
from postroom.settings import load_settings, sqlalchemy_url


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("postgres://u:p@h:1/d", "postgresql+asyncpg://u:p@h:1/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
        ("postgresql+asyncpg://u@h/d?ssl=require", "postgresql+asyncpg://u@h/d?ssl=require"),
    ],
)
def test_an_address_of_a_managed_database_is_understood(given: str, taken: str) -> None:
    assert sqlalchemy_url(given) == taken


def test_a_missing_secret_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "ENCRYPTION_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsMissing) as missing:
        load_settings()
    for name in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "ENCRYPTION_KEY"):
        assert f"{name} is not set" in str(missing.value)


def test_a_secret_that_is_too_short_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("REDIS_URL", "redis://h")
    monkeypatch.setenv("JWT_SECRET", "hunter2hunter2")
    monkeypatch.setenv("ENCRYPTION_KEY", "ab" * 31)
    with pytest.raises(SettingsMissing) as missing:
        load_settings()
    assert "JWT_SECRET is wrong" in str(missing.value)
    assert "ENCRYPTION_KEY is wrong" in str(missing.value)
    assert "hunter2" not in str(missing.value)
