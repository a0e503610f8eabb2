"""AWS Signature Version 4 with the standard library: the headers that prove who calls.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Signer:
    """One set of credentials, for one service in one region."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    region: str
    service: str

    def headers(
        self, method: str, url: str, given: Mapping[str, str], body: bytes, at: datetime
    ) -> dict[str, str]:
        """The given headers and those that sign them; `url` is as it will be sent."""
        stamp = at.strftime("%Y%m%dT%H%M%SZ")
        signed = {name.lower(): " ".join(value.split()) for name, value in given.items()}
        signed |= {"host": urlsplit(url).netloc, "x-amz-date": stamp}
        if self.session_token:
            signed["x-amz-security-token"] = self.session_token
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        request = "\n".join([method, _path(url), _query(url), lines, names, _digest(body)])
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        text = "\n".join([_ALGORITHM, stamp, scope, _digest(request.encode())])
        signature = hmac.new(self._key(stamp[:8]), text.encode(), hashlib.sha256).hexdigest()
        proof = (
            f"Credential={self.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return signed | {"authorization": f"{_ALGORITHM} {proof}"}

    def _key(self, day: str) -> bytes:
        return _derived_key(self.secret_access_key, day, self.region, self.service, "aws4_request")


def derived_key(secret: str, *parts: str) -> bytes:
    """The chain of HMACs from a secret to a key for one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in parts:
        key = hmac.digest(key, part.encode(), "sha256")
    return key


# It is the same for a whole day.
_derived_key = lru_cache(maxsize=256)(derived_key)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _path(url: str) -> str:
    """What is percent-encoded in the path is encoded once more (everywhere but at S3)."""
    return quote(urlsplit(url).path or "/", safe="/-_.~")


def _query(url: str) -> str:
    pairs = [part.partition("=") for part in urlsplit(url).query.split("&") if part]
    return "&".join(f"{name}={value}" for name, _, value in sorted(pairs))
