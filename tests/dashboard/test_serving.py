"""The page comes under its policy, assets are kept for ever, and a mail's frame is locked."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from postroom.app import create_app
from postroom.dashboard import api_pages, mail_view, pages
from postroom.resources import Resources

OUR_FRAME = {"sec-fetch-site": "same-origin", "sec-fetch-dest": "iframe"}


@pytest.fixture
def static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assets = tmp_path / "assets"
    assets.mkdir()
    (tmp_path / "index.html").write_text('<meta nonce="__CSP_NONCE__"><title>Postroom</title>')
    (tmp_path / "theme.js").write_text("1")
    (assets / "index-abc.js").write_text("plain")
    (assets / "index-abc.js.gz").write_bytes(b"packed")
    monkeypatch.setattr(pages, "STATIC", tmp_path)
    return tmp_path


@pytest.fixture
async def client(resources: Resources, static: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(resources))
    async with httpx.AsyncClient(transport=transport, base_url="http://postroom.test") as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/register", "/projects", "/project/x", "/project/x/mail/a"])
async def test_the_page_carries_a_fresh_nonce_each_time(
    client: httpx.AsyncClient, path: str
) -> None:
    answers = [await client.get(path) for _ in range(2)]
    nonces = []
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        nonce = answer.text.split('nonce="')[1].split('"')[0]
        assert f"'nonce-{nonce}'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


@pytest.mark.parametrize("path", ["/nothing", "/projects/x", "/assets/none.js", "/assets/..%2fx"])
async def test_everything_else_keeps_the_envelope(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_assets_are_kept_for_ever_and_come_packed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/assets/index-abc.js", headers={"accept-encoding": "identity"})
    assert answer.text == "plain"
    assert "immutable" in answer.headers["cache-control"]
    async with client.stream("GET", "/assets/index-abc.js") as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert b"".join([part async for part in packed.aiter_raw()]) == b"packed"
    assert (await client.get("/theme.js")).headers["cache-control"] == "no-cache"


async def test_without_a_build_the_page_says_how(client: httpx.AsyncClient, static: Path) -> None:
    (static / "index.html").unlink()
    answer = await client.get("/")
    assert answer.status_code == 200
    assert "make dashboard" in answer.text


async def test_the_frame_shows_a_mail_that_can_do_nothing(client: httpx.AsyncClient) -> None:
    form = {"html": (None, "<b>Hi</b>"), "images": (None, "")}
    answer = await client.post("/mail-view", files=form, headers=OUR_FRAME)
    policy = answer.headers["content-security-policy"]
    assert answer.text.endswith("<b>Hi</b>")
    assert policy.startswith("sandbox allow-popups allow-popups-to-escape-sandbox; default-src")
    assert "script-src" not in policy
    assert "img-src data:;" in policy
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    with_images = {"html": (None, "<b>Hi</b>"), "images": (None, "1")}
    answer = await client.post("/mail-view", files=with_images, headers=OUR_FRAME)
    assert "img-src data: https:;" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"},
        {"sec-fetch-site": "same-origin", "sec-fetch-dest": "document"},
        {"origin": "http://elsewhere.test"},
        {"origin": "null"},
    ],
)
async def test_nobody_else_may_use_the_frame(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.post("/mail-view", files={"html": (None, "x")}, headers=headers)
    assert answer.status_code == 403


async def test_over_plain_http_our_own_origin_is_enough(client: httpx.AsyncClient) -> None:
    headers = {"origin": "http://postroom.test"}
    answer = await client.post("/mail-view", files={"html": (None, "x")}, headers=headers)
    assert answer.status_code == 200


async def test_a_huge_mail_is_refused(client: httpx.AsyncClient) -> None:
    form = {"html": (None, "x" * (mail_view.MOST_BYTES + 3_000))}
    answer = await client.post("/mail-view", files=form, headers=OUR_FRAME)
    assert answer.status_code == 413


async def test_the_apis_pages_load_nothing_from_elsewhere(
    client: httpx.AsyncClient, static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_pages, "STATIC", static)
    assert "make dashboard" in (await client.get("/docs")).text
    (static / "assets" / "swagger-ui-9.js").write_text("1")
    (static / "assets" / "swagger-ui-9.css").write_text("1")
    answer = await client.get("/docs")
    assert "/assets/swagger-ui-9.js" in answer.text
    assert "//" not in answer.text.replace("/* ", "")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert f'nonce="{nonce}"' in answer.text
