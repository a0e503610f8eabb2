"""Takes the pictures of docs/images from a running `make run`: fills its demo project with examples first.

.venv/bin/python dashboard/screenshots.py [--env .postroom/dev.env]
"""

import argparse
import json
import re
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

OUT = Path(__file__).parents[1] / "docs/images"
MAILS = [
    ("ada@example.com", "Reset your password"),
    ("bob@example.com", "Invoice 1184"),
    ("bounced@example.com", "Welcome to Example"),
    ("complained@example.com", "Our news of November"),
    ("cleo@example.com", "Your code is 123456"),
    ("failed@example.com", "Weekly report"),
    ("dan@example.com", "Your order is on its way"),
]
HTML = """<div style="font-family:sans-serif;max-width:520px;margin:32px auto">
<h1 style="color:#3550c8">{0}</h1><p>Hello,</p><p>this is what the mail looks like to the person who gets it.</p>
<p><a href="https://example.com" style="background:#3550c8;color:#fff;padding:10px 18px;border-radius:6px;
text-decoration:none">Open Example</a></p></div>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", type=Path, default=Path(".postroom/dev.env"))
    env = dict(re.findall(r"export (\w+)='?([^'\n]*)'?", parser.parse_args().env.read_text()))
    api = Api(env["POSTROOM_URL"], env["POSTROOM_SECRET_KEY"])
    mail, broadcast = furnish(api)
    signed_in = api.call(
        "POST",
        "/api/auth/login",
        {"email": env["POSTROOM_EMAIL"], "password": env["POSTROOM_PASSWORD"]},
    )
    base = f"{env['POSTROOM_URL']}/project/{env['POSTROOM_PROJECT_ID']}/mail"
    shots = [
        ("overview", "/overview", "light", 1280),
        ("logs", "/logs", "light", 1280),
        ("mail", f"/logs?mail={mail}", "dark", 1280),
        ("template", "/templates/new", "light", 1280),
        ("broadcast", f"/broadcasts/{broadcast}", "dark", 1280),
        ("phone", "/logs", "light", 400),
    ]
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path)
        for name, place, theme, width in shots:
            shoot(browser, signed_in["token"], base + place, OUT / f"{name}.png", (theme, width))
        browser.close()


class Api:
    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        data = (
            body.encode()
            if isinstance(body, str)
            else json.dumps(body).encode()
            if body is not None
            else None
        )
        headers = {"x-api-key": self._key, "content-type": kind}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["data"]


def furnish(api: Api) -> tuple[str, str]:
    """Mails of each kind and a broadcast; the ids of one of each."""
    audience = api.call("POST", "/api/mail/audiences", {"name": "Readers"})["id"]
    people = [f"{who}+{n}@example.com,Person {n}" for n in range(400) for who in ("reader",)]
    people += [f"bounced+{n}@example.com,Person {n}" for n in range(9)]
    rows = "\n".join(["email,first_name", *people])
    api.call("POST", f"/api/mail/audiences/{audience}/contacts/import", rows, "text/csv")
    words = {
        "audienceId": audience,
        "name": "November",
        "subject": "News of November",
        "html": HTML.format("News"),
    }
    broadcast = api.call("POST", "/api/mail/broadcasts", words)["id"]
    deadline = time.monotonic() + 30
    while (
        api.call("GET", f"/api/mail/audiences/{audience}")["contacts"] < len(people)
        and time.monotonic() < deadline
    ):
        time.sleep(0.2)
    api.call("POST", f"/api/mail/broadcasts/{broadcast}/send", {})
    while (
        api.call("GET", f"/api/mail/broadcasts/{broadcast}")["status"] != "sent"
        and time.monotonic() < deadline
    ):
        time.sleep(0.2)
    mail = ""
    for _ in range(4):
        for to, subject in MAILS:
            body = {"to": to, "subject": subject, "html": HTML.format(subject), "text": subject}
            mail = api.call("POST", "/api/mail/send", body)["id"]
    time.sleep(2)
    return mail, broadcast


def shoot(browser: Browser, token: str, url: str, path: Path, how: tuple[str, int]) -> None:
    theme, width = how
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if theme == "dark" else "light",
    )
    context.add_init_script(
        f"if (window.top === window) localStorage.setItem('postroom-token', {json.dumps(token)})"
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.screenshot(path=path)
    context.close()


if __name__ == "__main__":
    main()
