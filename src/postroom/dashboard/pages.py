"""The dashboard's page, under the strictest policy it can live with, and its hashed assets."""

import asyncio
import re
import secrets
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

STATIC = Path(__file__).parent / "static"
NONCE = "__CSP_NONCE__"
NOT_BUILT = "The dashboard is not built here: run `make dashboard`, or use the API alone.\n"

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'nonce-{nonce}'",
        "style-src-attr 'none'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_FOREVER = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@router.get("/")
@router.get("/register")
@router.get("/projects")
@router.get("/project/{page:path}")
async def index() -> Response:
    """One page for all addresses of the dashboard; which one it shows is decided in the browser."""
    try:
        page = await asyncio.to_thread((STATIC / "index.html").read_text)
    except FileNotFoundError:
        return PlainTextResponse(NOT_BUILT)
    nonce = secrets.token_urlsafe(16)
    headers = {
        "Content-Security-Policy": _POLICY.format(nonce=nonce),
        # A kept page would bring an old nonce beside a new header.
        "Cache-Control": "no-store",
    }
    return HTMLResponse(page.replace(NONCE, nonce), headers=headers)


@router.get("/theme.js")
@router.get("/icon.svg")
async def plain_file(request: Request) -> Response:
    """What the page names before it knows its hashed assets."""
    return await _file(request, request.url.path.removeprefix("/"), "no-cache")


@router.get("/assets/{name}")
async def asset(request: Request, name: str) -> Response:
    """A file whose name changes with its content."""
    if not _NAME.fullmatch(name):
        raise HTTPException(404)
    return await _file(request, f"assets/{name}", _FOREVER)


async def _file(request: Request, name: str, caching: str) -> Response:
    path = STATIC / name
    kind = _TYPES.get(path.suffix)
    if kind is None or not await asyncio.to_thread(path.is_file):
        raise HTTPException(404)
    headers = {"Cache-Control": caching, "Vary": "Accept-Encoding"}
    packed = path.with_name(f"{path.name}.gz")
    if "gzip" in request.headers.get("accept-encoding", "") and await asyncio.to_thread(
        packed.is_file
    ):
        headers["Content-Encoding"] = "gzip"
        path = packed
    return FileResponse(path, media_type=kind, headers=headers)
