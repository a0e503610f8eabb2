"""What each provider's account is set up with: the fields a person gives, and those of the environment.

The providers are given the same names as the request has. Values of type SecretStr are sealed, everything
else is kept readable as the connection's options.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic.alias_generators import to_camel

from postroom.settings import Settings

_RESEND_KEY = re.compile(r"re_[A-Za-z0-9_]+")
_ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+")
_NAMED = re.compile(r"[^<>\r\n]*<([^<>]+)>")
_HINT_NEEDS = 12  # four characters of a shorter secret would tell too much


def is_sender(value: str) -> bool:
    """Whether this is `me@domain.com` or `App <me@domain.com>`."""
    named = _NAMED.fullmatch(value)
    return bool(_ADDRESS.fullmatch(named[1] if named else value))


def is_resend_key(value: str) -> bool:
    return bool(_RESEND_KEY.fullmatch(value))


def _sender(value: str) -> str:
    if not is_sender(value):
        raise ValueError(
            '"fromEmail" must be an address such as me@domain.com or App <me@domain.com>.'
        )
    return value


def _resend_key(value: SecretStr) -> SecretStr:
    if not is_resend_key(value.get_secret_value()):
        raise ValueError("Invalid Resend API Key format.")
    return value


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise ValueError("This must be an http(s) address without a user name in it.")
    return value.rstrip("/")


Sender = Annotated[str, Field(max_length=255), AfterValidator(_sender)]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=4096)]
WebAddress = Annotated[str, Field(max_length=2048), AfterValidator(_address)]
Word = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s\x00-\x1f]+$")]


class Fields(BaseModel):
    """What every connection takes."""

    model_config = ConfigDict(
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
    )
    hint: ClassVar[str | None] = None  # the field whose last characters are shown

    from_email: Sender | None = None
    rate_per_second: float | None = Field(default=None, gt=0, le=10_000)
    phi_allowed: bool = False

    def _own(self) -> Mapping[str, Any]:
        shared = set(Fields.model_fields)
        return self.model_dump(exclude=shared, exclude_none=True, by_alias=True)

    def secrets(self) -> dict[str, str]:
        """What must be sealed."""
        return {k: v.get_secret_value() for k, v in self._own().items() if isinstance(v, SecretStr)}

    def options(self) -> dict[str, Any]:
        """What may be read by anybody who may read the database."""
        return {k: v for k, v in self._own().items() if not isinstance(v, SecretStr)}

    def key_hint(self) -> str | None:
        """The last four characters of the key, to tell one from another."""
        return hint_of(self.secrets().get(self.hint or ""))

    def health_data_refusal(self) -> str | None:
        """Why this account may not carry health data, beyond what its provider can do."""
        return None

    def addresses(self) -> dict[str, str]:
        """Hosts that a person typed and we shall call, by field."""
        return {}


class ResendFields(Fields):
    hint = "apiKey"
    api_key: Annotated[Secret, AfterValidator(_resend_key)]
    webhook_secret: Secret | None = None


class PauboxFields(Fields):
    hint = "apiKey"
    api_key: Secret
    base_url: WebAddress | None = None
    endpoint: Word | None = None
    bulk_size: int | None = Field(default=None, ge=1, le=50)
    force_secure_notification: bool | None = None

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.base_url and self.endpoint:
            raise ValueError("Provide only one of baseUrl or endpoint.")
        return self

    def addresses(self) -> dict[str, str]:
        return {"baseUrl": self.base_url} if self.base_url else {}


class SesFields(Fields):
    hint = "accessKeyId"
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    credentials: Literal["keys", "role"] = (
        "keys"  # role: this server's own, where its operator lends it
    )
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    configuration_set: Word | None = None
    topic_arns: (
        Annotated[
            list[Annotated[str, Field(max_length=300, pattern=r"^arn:aws[a-z-]*:sns:")]],
            Field(max_length=20),
        ]
        | None
    ) = None
    endpoint_url: WebAddress | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        given = (self.access_key_id, self.secret_access_key, self.session_token)
        if self.credentials == "role" and any(given):
            raise ValueError(
                'With credentials "role" leave accessKeyId, secretAccessKey and sessionToken out.'
            )
        if self.credentials == "keys" and not all(given[:2]):
            raise ValueError("Provide accessKeyId and secretAccessKey.")
        return self

    def health_data_refusal(self) -> str | None:
        if self.configuration_set is None:
            return (
                "Amazon SES may carry health data only with a configuration set that requires TLS."
            )
        return None

    def addresses(self) -> dict[str, str]:
        return {"endpointUrl": self.endpoint_url} if self.endpoint_url else {}


def _is_at(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


class SmtpFields(Fields):
    hint = "password"
    host: Word | None = None
    port: int | None = Field(default=None, ge=1, le=65_535)
    security: Literal["tls", "starttls"] | None = None
    username: Annotated[str, Field(max_length=255)] | None = None
    password: Secret
    preset: Literal["resend", "paubox", "ses"] | None = None
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")] | None = None
    configuration_set: Word | None = None
    ca_certificate: Annotated[str, Field(max_length=100_000)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.preset is None and None in (self.host, self.port, self.security, self.username):
            raise ValueError("Provide host, port, security and username, or a preset.")
        if self.preset == "ses" and None in (self.region, self.username):
            raise ValueError('The preset "ses" needs a region and a username.')
        return self

    def health_data_refusal(self) -> str | None:
        host = (self.host or "").lower().rstrip(".")
        if self.preset == "resend" or _is_at(host, "resend.com"):
            return "Resend may not carry health data, by SMTP neither."
        if self.preset == "ses" or _is_at(host, "amazonaws.com"):
            # By SMTP nobody can see whether the configuration set requires TLS.
            return "Amazon SES may carry health data by the provider ses only, not by SMTP."
        return None

    def addresses(self) -> dict[str, str]:
        return {"host": self.host} if self.host else {}


class Faults(BaseModel):
    """How the sandbox misbehaves."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)
    latency_ms: int = Field(default=0, ge=0, le=60_000)
    throttle_percent: float = Field(default=0, ge=0, le=100)
    drop_after_accept_percent: float = Field(default=0, ge=0, le=100)
    duplicate_events: bool = False
    silent_events: bool = False


class SandboxFields(Fields):
    faults: Faults | None = None


FIELDS: dict[str, type[Fields]] = {
    "resend": ResendFields,
    "paubox": PauboxFields,
    "ses": SesFields,
    "smtp": SmtpFields,
    "sandbox": SandboxFields,
}


def hint_of(secret: str | None) -> str | None:
    """The last four characters, of a secret long enough to spare them."""
    return secret[-4:] if secret and len(secret) >= _HINT_NEEDS else None


def host_role_refusal(
    settings: Settings, project_id: UUID | None, options: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Why an account with these options may not use the server's own AWS role: the field and a sentence.

    Whoever sets up a project types these options. Without the operator's word any project could send, and
    read of the account, as the server; with an address of its own it could have the role's token sent there.
    """
    if options.get("credentials") != "role":
        return None
    if not settings.lends_host_role(project_id):
        return (
            "credentials",
            "The operator of this server does not lend its AWS role to this project (SES_HOST_ROLE).",
        )
    if options.get("endpointUrl") and not settings.allow_private_addresses:
        return (
            "endpointUrl",
            'With credentials "role" the address is AWS\'s own: leave endpointUrl out.',
        )
    return None


def defaults(settings: Settings, provider: str) -> dict[str, Any]:
    """What an account of this provider has when nothing else was said."""
    return {
        "resend": {"baseUrl": settings.resend_base_url},
        "paubox": {"baseUrl": settings.paubox_base_url},
    }.get(provider, {})


def of_environment(settings: Settings) -> dict[tuple[str, int], dict[str, Any]]:
    """The shared accounts: (provider, slot) and what each is set up with."""
    accounts: dict[tuple[str, int], dict[str, Any]] = {}
    for slot, key in ((1, settings.resend_api_key), (2, settings.resend_api_key_2)):
        if key is not None:
            accounts["resend", slot] = {
                "apiKey": key.get_secret_value(),
                "webhookSecret": _plain(settings.resend_webhook_secret),
            }
    if settings.paubox_api_key is not None:
        accounts["paubox", 1] = {
            "apiKey": settings.paubox_api_key.get_secret_value(),
            "endpoint": settings.paubox_endpoint,
            "webhookToken": _plain(settings.paubox_webhook_token),
        }
    if settings.mail_provider == "sandbox":
        accounts["sandbox", 1] = {}
    return accounts


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
