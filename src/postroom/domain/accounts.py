"""The people who operate projects: registration, sign-in, tokens that a password change revokes."""

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from postroom.domain.tries import Tries
from postroom.errors import Conflict, Forbidden, InvalidPayload, NotAuthenticated, NotFound
from postroom.ids import new_id
from postroom.models import Account
from postroom.resources import Session
from postroom.settings import Settings

TOKEN_HOURS = 12
WRONG = "Invalid email or password."
_EMAIL = re.compile(r"[^\s@<>,;:\"]+@[^\s@<>,;:\"]+\.[^\s@<>,;:\"]+")
# Two registrations at the same moment must not both be the first.
_REGISTRATION_LOCK = 7_305_041_890

_hasher = PasswordHasher()
# Each hash takes 64 MB and a core for some 50 ms: a crowd of sign-ins waits in line.
_hashing = asyncio.Semaphore(2)
# Compared against when the address is unknown, so that the time taken tells nothing: it fits no password.
_NOBODY = (
    f"$argon2id$v=19$m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    f"${'A' * 22}${'A' * 43}"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a bearer token belongs to."""

    id: UUID
    email: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    expires_at: datetime


# ── Passwords ────────────────────────────────────────────────────────────────────────────────────


async def hash_password(password: str) -> str:
    async with _hashing:
        return await asyncio.to_thread(_hasher.hash, password)


async def password_fits(password: str, hashed: str | None) -> bool:
    """Whether the password is right; takes as long for an account that does not exist."""
    async with _hashing:
        return await asyncio.to_thread(_fits, password, hashed or _NOBODY) and hashed is not None


def _fits(password: str, hashed: str) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except VerificationError:
        return False


# ── Registering and signing in ───────────────────────────────────────────────────────────────────


def normal_email(address: str) -> str:
    """The address as accounts are known by it."""
    address = address.strip().lower()
    if len(address) > 254 or not _EMAIL.fullmatch(address):
        raise InvalidPayload.at("email", "Invalid email format.")
    return address


async def register(
    session: Session, settings: Settings, email: str, password: str, name: str | None
) -> Account:
    """Make an account by itself, as far as REGISTRATION lets it."""
    if not await registration_open(session, settings):
        raise Forbidden(
            "Registration is closed on this server. Ask its operator for an account.",
            code="registration_closed",
        )
    return await create(session, email, password, name)


async def registration_open(session: Session, settings: Settings) -> bool:
    """Whether somebody may register now; in the mode `first` nobody else may until this transaction ends."""
    if settings.registration == "first":
        await session.execute(text("select pg_advisory_xact_lock(:n)"), {"n": _REGISTRATION_LOCK})
        return not await session.scalar(select(func.count()).select_from(Account))
    return settings.registration == "open"


async def create(session: Session, email: str, password: str, name: str | None = None) -> Account:
    """Make an account for somebody, whatever REGISTRATION says."""
    account = Account(id=new_id(), email=normal_email(email), name=name)
    account.password_hash = await hash_password(password)
    session.add(account)
    try:
        # From here the account can sign in.
        await session.commit()
    except IntegrityError:
        raise Conflict(
            "An account with this email exists already.", code="account_exists"
        ) from None
    return account


async def login(
    session: Session, settings: Settings, tries: Tries, attempt: "Attempt"
) -> tuple[Account, Token]:
    """Sign in, or fail in a way that does not tell an unknown address from a wrong password."""
    email = attempt.email.strip().lower()
    async with tries.counted(f"address {attempt.client}", f"account {email}") as count:
        account = await find(session, email)
        fits = await password_fits(attempt.password, account.password_hash if account else None)
        if account is None or not fits:
            raise NotAuthenticated(WRONG, code="invalid_credentials")
        count.forgive()
    return account, issue_token(settings, account)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to sign in, and the address that it came from."""

    email: str
    password: str
    client: str


async def find(session: Session, email: str) -> Account | None:
    return (await session.scalars(select(Account).where(Account.email == email))).one_or_none()


async def change_password(session: Session, account_id: UUID, current: str, wanted: str) -> Account:
    """Set a new password; every token that was given out stops at once."""
    account = await session.get(Account, account_id)
    if account is None:
        raise NotFound("Account not found.")
    if not await password_fits(current, account.password_hash):
        raise InvalidPayload.at("currentPassword", "The current password is wrong.")
    hashed = await hash_password(wanted)
    await session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(password_hash=hashed, password_version=Account.password_version + 1)
    )
    # From here the old tokens are refused: each names the version of the password it was given for.
    await session.commit()
    await session.refresh(account)
    return account


# ── Tokens ───────────────────────────────────────────────────────────────────────────────────────


def issue_token(settings: Settings, account: Account) -> Token:
    now = datetime.now(UTC).replace(microsecond=0)
    expires_at = now + timedelta(hours=TOKEN_HOURS)
    claims = {
        "sub": str(account.id),
        "password": account.password_version,
        "iat": now,
        "exp": expires_at,
    }
    secret = settings.jwt_secret.get_secret_value()
    return Token(jwt.encode(claims, secret, algorithm="HS256"), expires_at)


def read_token(settings: Settings, token: str) -> tuple[UUID, int]:
    """The account and the password version that a genuine, unexpired token names."""
    if not token:
        raise NotAuthenticated("Access Denied: No Token Provided.", code="token_missing")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            settings.jwt_secret.get_secret_value(),
            algorithms=["HS256"],
            options={"require": ["sub", "exp", "password"]},
        )
        version = claims["password"]
        if not isinstance(version, int):
            raise invalid_token()
        return UUID(claims["sub"]), version
    except (jwt.InvalidTokenError, ValueError, TypeError):
        # The library raises TypeError for a head whose algorithm is no text.
        raise invalid_token() from None


def invalid_token() -> NotAuthenticated:
    return NotAuthenticated("Invalid Token.", code="token_invalid")


async def by_token(session: Session, settings: Settings, token: str) -> Identity:
    """Whose token this is; a token older than the password is worth nothing."""
    account_id, version = read_token(settings, token)
    account = await session.get(Account, account_id)
    if account is None or account.password_version != version:
        raise invalid_token()
    return Identity(account.id, account.email, account.name)
