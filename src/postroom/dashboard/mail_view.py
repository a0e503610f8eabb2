"""Echoes a mail's HTML into a frame in which it can do nothing: no script, no form, no remote content.

A frame filled by `srcdoc` or `blob:` inherits the dashboard's own policy, which would take every style from
the mail; a GET address could not carry the bearer token. So the dashboard posts what it has read, and nothing
is kept here.
"""

from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response

from postroom.errors import Forbidden, InvalidPayload, TooLarge

MOST_BYTES = 5_000_000
_FORM_OVERHEAD = 2_000
_LOCK = "sandbox allow-popups allow-popups-to-escape-sandbox"
_POLICY = (
    f"{_LOCK}; default-src 'none'; style-src 'unsafe-inline'; img-src {{images}}; font-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_FRONT = (
    '<!doctype html><meta charset="utf-8"><base target="_blank">'
    "<style>iframe,object,embed{display:none!important}</style>"
)

router = APIRouter(include_in_schema=False)


@router.post("/mail-view")
async def mail_view(request: Request) -> Response:
    """The given HTML, for a frame of our own page alone."""
    if not _asked_by_our_frame(request.headers):
        raise Forbidden("This address serves frames of the dashboard alone.")
    if int(request.headers.get("content-length") or 0) > MOST_BYTES + _FORM_OVERHEAD:
        raise _too_large()
    async with request.form(max_files=0, max_fields=2, max_part_size=MOST_BYTES) as form:
        html, images = form.get("html"), form.get("images") == "1"
    if not isinstance(html, str):
        raise InvalidPayload("The form needs a field html.")
    headers = {
        "Content-Security-Policy": _POLICY.format(images="data: https:" if images else "data:"),
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "SAMEORIGIN",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(_FRONT + html, headers=headers)


def _asked_by_our_frame(headers: Headers) -> bool:
    """By what the browser says of the request; over plain HTTP it says no more than the origin."""
    site, place = headers.get("sec-fetch-site"), headers.get("sec-fetch-dest")
    if site is None and place is None:
        return headers.get("origin") in {
            f"{scheme}://{headers.get('host')}" for scheme in ("http", "https")
        }
    return site == "same-origin" and place == "iframe"


def _too_large() -> TooLarge:
    return TooLarge("This mail is larger than 5 MB: read its text, its source, or download it.")
