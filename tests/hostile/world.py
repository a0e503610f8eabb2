"""One of everything, made over HTTP at a running Postroom, for requests that must get past its doors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

PASSWORD = "a password of the fuzzer"


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


@dataclass
class World:
    """An account that signs in once, and a project of its own that is made anew whenever asked."""

    http: httpx.Client
    token: str
    email: str
    member: str  # the address of an account that may be invited
    promote: Callable[[str], None]  # a project to the pro plan, which no route does
    project_id: str = ""
    key: str = ""
    ids: dict[str, str] = field(default_factory=dict)  # by the name of a path's parameter

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    @property
    def api_key(self) -> dict[str, str]:
        return {"x-api-key": self.key}

    def renew(self) -> None:
        """A fresh project with one of everything in it."""
        made = self._make("/api/projects", {"name": "Fuzzed"})
        self.project_id, self.key = made["project"]["id"], made["secretKey"]
        self.promote(self.project_id)
        base = f"/api/projects/{self.project_id}/mail"
        self._make(f"{base}/providers/sandbox", {}, method="PUT")
        mail = {"to": "ann@example.com", "subject": "Hello", "text": "Hi"}
        sent = self._make(f"{base}/send", mail)["id"]
        waiting = self._make(f"{base}/send", mail | {"scheduledAt": tomorrow()})["id"]
        template = {"name": "Hello", "subject": "Hello {{name}}", "text": "Hi {{name}}"}
        audience = self._make(f"{base}/audiences", {"name": "Everybody"})["id"]
        contacts = f"{base}/audiences/{audience}/contacts"
        broadcast = {"audienceId": audience, "subject": "News", "html": "<p>News</p>"}
        self._make(f"{base}/suppressions", {"address": "gone@example.com"})
        later = self._make(f"{base}/broadcasts", broadcast)["id"]
        self._make(f"{base}/broadcasts/{later}/send", {"scheduledAt": tomorrow()})
        self.ids = {
            "projectId": self.project_id,
            "id": sent,
            "scheduled": waiting,
            "templateId": self._make(f"{base}/templates", template)["template"]["id"],
            "audienceId": audience,
            "contactId": self._make(contacts, {"email": "ann@example.com"})["id"],
            "broadcastId": self._make(f"{base}/broadcasts", broadcast)["id"],
            "waiting": later,
            "importId": self._import(f"{contacts}/import"),
            "address": "gone@example.com",
            "provider": "sandbox",
            "userId": self._invite(),
        }

    def _invite(self) -> str:
        path = f"/api/projects/{self.project_id}/members"
        self._make(path, {"email": self.member, "role": "viewer"})
        listed = self._ok(self.http.get(path, headers=self.bearer))
        return str(next(one for one in listed if one["email"] == self.member)["userId"])

    def _import(self, path: str) -> str:
        headers = self.bearer | {"content-type": "text/csv"}
        return str(
            self._ok(self.http.post(path, content="email\nbob@example.com\n", headers=headers))[
                "id"
            ]
        )

    def _make(self, path: str, body: dict[str, Any], method: str = "POST") -> Any:
        return self._ok(self.http.request(method, path, json=body, headers=self.bearer))

    @staticmethod
    def _ok(answer: httpx.Response) -> Any:
        assert answer.is_success, f"{answer.request.url.path}: {answer.text}"
        return answer.json()["data"]


def new_world(url: str, promote: Callable[[str], None]) -> World:
    """Two accounts at this address, the first one signed in, and its first project."""
    http = httpx.Client(base_url=url, trust_env=False, timeout=30)
    emails = [f"{name}-{uuid4().hex[:8]}@example.com" for name in ("owner", "member")]
    for email in emails:
        who = {"email": email, "password": PASSWORD}
        assert http.post("/api/auth/register", json=who).is_success
    answer = http.post("/api/auth/login", json={"email": emails[0], "password": PASSWORD})
    world = World(http, answer.json()["data"]["token"], *emails, promote)
    world.renew()
    return world
