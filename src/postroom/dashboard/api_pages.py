"""The interactive pages of the API at /docs, built with the dashboard: nothing is fetched from elsewhere."""

import asyncio
import secrets

from fastapi import APIRouter
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from postroom.dashboard.pages import STATIC

NOT_BUILT = "The API's pages are not built here: run `make dashboard`, or read /openapi.json.\n"

# The pages set styles on their elements; scripts run from our own files alone.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'nonce-{nonce}'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Postroom API</title>
<link rel="icon" href="/icon.svg">
<link rel="stylesheet" href="/assets/{css}">
</head>
<body>
<main id="pages"></main>
<script src="/assets/{js}"></script>
<script nonce="{nonce}">
SwaggerUIBundle({{url: "/openapi.json", dom_id: "#pages", deepLinking: true}});
</script>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs() -> Response:
    """Every route, to be read and tried."""
    found = await asyncio.to_thread(_built)
    if found is None:
        return PlainTextResponse(NOT_BUILT)
    nonce = secrets.token_urlsafe(16)
    css, js = found
    return HTMLResponse(
        _PAGE.format(css=css, js=js, nonce=nonce),
        headers={
            "Content-Security-Policy": _POLICY.format(nonce=nonce),
            "Cache-Control": "no-store",
        },
    )


def _built() -> tuple[str, str] | None:
    """The names of the style and the script, whose version is in them."""
    css = sorted((STATIC / "assets").glob("swagger-ui-*.css"))
    js = sorted((STATIC / "assets").glob("swagger-ui-*.js"))
    return (css[-1].name, js[-1].name) if css and js else None
