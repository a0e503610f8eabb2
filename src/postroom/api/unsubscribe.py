"""The page that a link in a broadcast opens: looking at it changes nothing, its button does."""

import base64
import hashlib
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse

from postroom.api.deps import Db, Res
from postroom.api.envelope import errors
from postroom.domain import unsubscribe
from postroom.errors import NotFound
from postroom.resources import Keys

router = APIRouter(tags=["Unsubscribe"])

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1.5rem}"
    "button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    # Nothing is loaded, nothing runs, and the only form is ours.
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><main><h1>{title}</h1>{body}</main></body></html>
"""
_ASK = (
    "<p>You will get no more mails from this list.</p>"
    '<form method="post"><button type="submit">Unsubscribe</button></form>'
)
_DONE = "<p>You will get no more mails from this list. You can close this page.</p>"
_WRONG = (
    "<p>This link is incomplete or not one of ours. Open it once more from the mail itself.</p>"
)

_RESPONSES = {
    **errors(),
    404: {"description": "The link is not one of ours.", "content": {"text/html": {}}},
}
# Of any length: whoever follows a spoiled link is a person, and gets a page.
Token = Annotated[str, Path()]


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=title, style=_STYLE, body=body), status, _HEADERS)


def _is_ours(keys: Keys, token: str) -> bool:
    try:
        unsubscribe.read_token(keys, token)
    except NotFound:
        return False
    return True


@router.get(
    "/unsubscribe/{token}",
    summary="The page with the button",
    response_class=HTMLResponse,
    responses=_RESPONSES,
)
async def show(resources: Res, token: Token) -> HTMLResponse:
    """Changes nothing: programs that look at every link in a mail open it too."""
    if not _is_ours(resources.keys, token):
        return _page("Unsubscribe", _WRONG, 404)
    return _page("Unsubscribe?", _ASK)


@router.post(
    "/unsubscribe/{token}",
    summary="Unsubscribe",
    response_class=HTMLResponse,
    responses=_RESPONSES,
)
async def leave(resources: Res, session: Db, token: Token) -> HTMLResponse:
    """By the page's button, or by a mail program's one click (RFC 8058); no cookie, no sign-in."""
    if not _is_ours(resources.keys, token):
        return _page("Unsubscribe", _WRONG, 404)
    ticket = unsubscribe.read_token(resources.keys, token)
    await unsubscribe.unsubscribe(session, resources.redis, ticket)
    return _page("You are unsubscribed", _DONE)
