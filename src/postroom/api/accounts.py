"""Registering, signing in, and changing one's password."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field, TypeAdapter

from postroom.api.body import read, takes
from postroom.api.deps import ByAccount, Db, Res, client_address
from postroom.api.envelope import BODY, Success, errors, ok
from postroom.api.shapes import Asked, Told
from postroom.domain import accounts
from postroom.domain.accounts import Attempt, Token
from postroom.domain.tries import Tries

router = APIRouter(prefix="/api/auth", tags=["Accounts"])

Password = Annotated[str, Field(min_length=12, max_length=200)]


class Registration(Asked):
    email: Annotated[str, Field(max_length=254)]
    password: Password
    name: Annotated[str, Field(max_length=100)] | None = None


class SignIn(Asked):
    email: Annotated[str, Field(max_length=254)]
    password: Annotated[str, Field(max_length=200)]


class PasswordChange(Asked):
    current_password: Annotated[str, Field(max_length=200)]
    new_password: Password


class User(Told):
    id: UUID
    email: str
    name: str | None


class SignedIn(Told):
    token: str
    expires_at: datetime
    user: User


REGISTRATION = TypeAdapter(Registration)
SIGN_IN = TypeAdapter(SignIn)
PASSWORD_CHANGE = TypeAdapter(PasswordChange)


def _signed_in(token: Token, account: Any) -> SignedIn:
    user = User.model_validate(account)
    return SignedIn(token=token.text, expires_at=token.expires_at, user=user)


@router.post(
    "/register",
    status_code=201,
    response_model=Success[User],
    responses=errors(*BODY, 403, 409),
    openapi_extra=takes(Registration),
)
async def register(request: Request, session: Db, res: Res) -> Response:
    """Make an account, as far as this server lets people register."""
    wanted = await read(request, REGISTRATION)
    account = await accounts.register(
        session, res.settings, wanted.email, wanted.password, wanted.name
    )
    return ok(User.model_validate(account), "Account created.", 201)


@router.post(
    "/login",
    response_model=Success[SignedIn],
    responses=errors(*BODY, 401, 429),
    openapi_extra=takes(SignIn),
)
async def login(request: Request, session: Db, res: Res) -> Response:
    """Sign in; the token is a bearer token for twelve hours."""
    given = await read(request, SIGN_IN)
    tries: Tries = request.app.state.tries
    client = client_address(request, res.settings.trusted_proxies)
    attempt = Attempt(given.email, given.password, client)
    account, token = await accounts.login(session, res.settings, tries, attempt)
    return ok(_signed_in(token, account), "Signed in.")


@router.get("/me", response_model=Success[User], responses=errors(401))
async def me(identity: ByAccount) -> Response:
    """Whose token this is."""
    return ok(User.model_validate(identity))


@router.post(
    "/password",
    response_model=Success[SignedIn],
    responses=errors(*BODY, 401, 429),
    openapi_extra=takes(PasswordChange),
)
async def change_password(request: Request, identity: ByAccount, session: Db, res: Res) -> Response:
    """Change the password; every token given out before stops, and a new one is answered."""
    given = await read(request, PASSWORD_CHANGE)
    tries: Tries = request.app.state.tries
    async with tries.counted(f"password {identity.id}") as count:
        account = await accounts.change_password(
            session, identity.id, given.current_password, given.new_password
        )
        count.forgive()
    token = accounts.issue_token(res.settings, account)
    return ok(_signed_in(token, account), "Password changed.")
