"""What one worker hands over to a vendor without a batch call, beside what that vendor can take at all.

The vendor is a server that answers as Amazon SES does: it checks each request's signature with botocore, and looks
at nothing else but the tag that names the mail. Its own limit is what a bare client on keep-alive connections gets
out of it with one request that was signed beforehand.
"""

import argparse
import asyncio
from uuid import UUID, uuid4

import httpx
import orjson
import redis.asyncio
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.doubles.ses import why_refused
from tests.doubles.wire import Exchange, HttpServer

from bench import load
from bench.rig import PASSWORD, Process, Rig, free_port

PATH = "/v2/email/outbound-emails"
KEY = "AKIARIG"
KEYS = {KEY: "secret-key-of-the-rig"}
CONNECTIONS = 32  # as many as a worker has calls under way to one account


class QuickSes:
    """Takes every mail at once; tells how many there were, and how many different ones."""

    def __init__(self, port: int) -> None:
        self.server = HttpServer(self._handle, port)
        self._calls = 0
        self._refs: set[str] = set()

    def _handle(self, exchange: Exchange) -> None:
        if exchange.path == "/_report":
            exchange.answer_json(200, {"calls": self._calls, "distinct_refs": len(self._refs)})
            return
        if exchange.path == "/v2/email/account":
            exchange.answer_json(200, {"SendQuota": {"MaxSendRate": 10_000.0}})
            return
        if (refused := why_refused(exchange, KEYS)) is not None:
            exchange.answer_json(403, {"message": refused[1]})
            return
        self._calls += 1
        mail = orjson.loads(exchange.body)
        self._refs.update(tag["Value"] for tag in mail["EmailTags"] if tag["Name"] == "postroom")
        exchange.answer_json(200, {"MessageId": str(uuid4())})


async def _serve(port: int) -> None:
    await QuickSes(port).server.start()
    await asyncio.Event().wait()


async def start_vendor(r: Rig) -> str:
    """A vendor of its own process, and its address."""
    port = free_port()
    vendor: Process = r.process("ses", "-m", "bench.single", "--port", str(port))
    await vendor.start()
    r.others.append(vendor)
    url = f"http://127.0.0.1:{port}"
    async with asyncio.timeout(20), httpx.AsyncClient(trust_env=False) as http:
        while True:
            try:
                await http.get(f"{url}/_report")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return url


async def use_vendor(r: Rig, url: str) -> None:
    """Give the rig a project that sends by this vendor; needs ALLOW_PRIVATE_ADDRESSES in the rig's environment."""
    fields = {
        "region": "us-east-1",
        "accessKeyId": KEY,
        "secretAccessKey": KEYS[KEY],
        "endpointUrl": url,
        "ratePerSecond": 10_000,
    }
    who = {"email": f"single-{uuid4().hex[:8]}@example.com", "password": PASSWORD}
    async with httpx.AsyncClient(base_url=r.url, trust_env=False) as http:
        (await http.post("/api/auth/register", json=who)).raise_for_status()
        token = (await http.post("/api/auth/login", json=who)).json()["data"]["token"]
        http.headers["Authorization"] = f"Bearer {token}"
        made = (await http.post("/api/projects", json={"name": "Single"})).json()["data"]
        r.project_id, r.key = made["project"]["id"], made["secretKey"]
        path = f"/api/projects/{r.project_id}/mail/providers/ses"
        (await http.put(path, json=fields)).raise_for_status()
    (row,) = await r.sql("select id from connections where project_id = $1", UUID(r.project_id))
    client = redis.asyncio.from_url(r.redis_url)
    # What the vendor would tell of a large account within a minute; one of this size is not paced.
    await client.hset(f"paused:{row['id']}", "limit", 10_000)
    await client.aclose()


async def bare(url: str, count: int) -> float:
    """Calls a second that the vendor answers to a client that does nothing else."""
    body = orjson.dumps(
        {
            "FromEmailAddress": "rig@postroom.test",
            "Destination": {"ToAddresses": ["user@example.com"]},
            "Content": {
                "Simple": {"Subject": {"Data": "Mail"}, "Body": {"Text": {"Data": "x" * 900}}}
            },
            "EmailTags": [{"Name": "bare", "Value": "1"}],
        }
    )
    signed = AWSRequest("POST", url + PATH, data=body)
    SigV4Auth(Credentials(KEY, KEYS[KEY]), "ses", "us-east-1").add_auth(signed)
    request = load.request_bytes(url + PATH, body, dict(signed.headers))
    done = await load.run(url + PATH, lambda number: request, count, CONNECTIONS)
    if set(done.statuses) != {200} or done.lost:
        raise SystemExit(f"the vendor answered {dict(done.statuses)}, lost {done.lost}")
    return done.rate


async def _report(url: str) -> dict[str, int]:
    async with httpx.AsyncClient(trust_env=False) as http:
        return dict((await http.get(f"{url}/_report")).json())


async def measure(r: Rig, url: str, count: int) -> tuple[float, float]:
    """One round: mails a second that a fresh worker hands over and settles, and the bare client's calls a second.

    The rig has an API and no worker; `use_vendor` was called. Raises SystemExit unless every mail that was
    accepted was handed over, once.
    """
    limit = await bare(url, count)
    send = f"{r.url}/api/mail/send"
    done = await load.run(send, load.send_requests(send, r.key), count, 64)
    if set(done.statuses) != {200} or done.lost:
        raise SystemExit(f"{send}: answers {dict(done.statuses)}, lost {done.lost}")
    before = await _report(url)
    worker = await r.add_worker()
    await r.wait_empty(180)
    await worker.stop()
    after = await _report(url)
    new = {name: after[name] - before[name] for name in after}
    if new != {"calls": count, "distinct_refs": count}:
        raise SystemExit(f"handed over {new}, accepted {count}")
    (row,) = await r.sql(
        "select extract(epoch from max(sent_at) - min(sent_at)) s from"
        " (select sent_at from mail_logs order by id desc limit $1) m",
        count,
    )
    return count / float(row["s"]), limit


def main() -> None:
    parser = argparse.ArgumentParser(description="The vendor's double alone.")
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
