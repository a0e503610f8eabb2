"""Everything that the environment may say, in one place."""

from functools import cached_property
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from postroom.errors import SettingsMissing

RegistrationMode = Literal["first", "open", "closed"]


class Settings(BaseSettings):
    """The environment variables of docs/configuration.md; nothing secret has a default."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, frozen=True)

    database_url: SecretStr
    redis_url: SecretStr
    jwt_secret: SecretStr
    encryption_key: SecretStr
    port: int = Field(default=8000, ge=1, le=65535)
    public_url: str = "http://127.0.0.1:8000"
    trusted_proxies: str = ""
    metrics_token: SecretStr | None = None
    registration: RegistrationMode = "first"
    log_format: Literal["json", "readable"] = Field(
        default="json", validation_alias=AliasChoices("POSTROOM_LOG", "log_format")
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", validation_alias=AliasChoices("POSTROOM_LOG_LEVEL", "log_level")
    )

    mail_provider: Literal["resend", "paubox", "sandbox"] | None = None
    resend_api_key: SecretStr | None = None
    resend_api_key_2: SecretStr | None = None
    resend_webhook_secret: SecretStr | None = None
    resend_base_url: str = "https://api.resend.com"
    paubox_api_key: SecretStr | None = None
    paubox_base_url: str = "https://api.paubox.com/v1/email"
    paubox_endpoint: str | None = None
    paubox_webhook_token: SecretStr | None = None
    email_from: str | None = None

    free_monthly_limit: int = Field(default=100, ge=-1)
    pro_monthly_limit: int = Field(default=50_000, ge=-1)
    free_rate_per_minute: int = Field(default=600, ge=-1)
    pro_rate_per_minute: int = Field(default=60_000, ge=-1)
    free_max_projects: int = Field(default=3, ge=-1)
    mail_max_age_hours: float = Field(default=72, gt=0)
    log_retention_days: int = Field(default=0, ge=0, le=36_500)
    allow_private_addresses: bool = False
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("encryption_key")
    @classmethod
    def _is_hex(cls, value: SecretStr) -> SecretStr:
        for part in value.get_secret_value().split(","):
            try:
                raw = bytes.fromhex(part.strip())
            except ValueError:
                raw = b""
            if len(raw) != 32:
                raise ValueError("each key is 64 hexadecimal characters (openssl rand -hex 32)")
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 32:
            raise ValueError("at least 32 characters are needed (openssl rand -hex 32)")
        return value

    @cached_property
    def encryption_keys(self) -> list[bytes]:
        """The keys in order: the first seals, every one opens."""
        return [bytes.fromhex(k.strip()) for k in self.encryption_key.get_secret_value().split(",")]

    @property
    def sqlalchemy_url(self) -> str:
        """The database's address in the form that SQLAlchemy's asyncpg driver takes."""
        return sqlalchemy_url(self.database_url.get_secret_value())

    @property
    def pg_url(self) -> str:
        """The database's address in the form that the driver itself takes."""
        return self.database_url.get_secret_value().replace("postgresql+asyncpg:", "postgresql:", 1)

    @property
    def shared_provider(self) -> str | None:
        """The provider of projects without a connection of their own, if there is one."""
        if self.mail_provider:
            return self.mail_provider
        return "resend" if self.resend_api_key or self.resend_api_key_2 else None


def sqlalchemy_url(url: str) -> str:
    """A PostgreSQL address as SQLAlchemy's asyncpg driver takes it; `sslmode` goes by another name there."""
    parts = urlsplit(url)
    scheme = "postgresql+asyncpg" if parts.scheme in {"postgres", "postgresql"} else parts.scheme
    query = [("ssl" if k == "sslmode" else k, v) for k, v in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(scheme=scheme, query=urlencode(query)))


def load_settings() -> Settings:
    """Read the environment, or raise SettingsMissing with a sentence that names what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = []
        for item in error.errors(include_input=False):
            name = str(item["loc"][0]).upper() if item["loc"] else "?"
            said = "is not set" if item["type"] == "missing" else f"is wrong: {item['msg']}"
            wrong.append(f"{name} {said}")
        raise SettingsMissing("; ".join(wrong) + ". See docs/configuration.md.") from None
