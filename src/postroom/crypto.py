"""Sealing what is secret, hashing what is only compared, and finding an address without storing it."""

import hashlib
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from postroom.errors import Unsealable

_NONCE = 12


class Keyring:
    """AES-256-GCM under the first key; opens what any of the keys sealed.

    A sealed value is `key number (1 byte) · nonce (12) · ciphertext and tag`. The number is a fingerprint of
    the key, not its place in the list, so that keys may be prepended and dropped without rewriting anything.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [(hashlib.sha256(b"postroom key" + k).digest()[0], AESGCM(k)) for k in keys]

    @property
    def number(self) -> int:
        """The number of the key that seals now."""
        return self._ciphers[0][0]

    def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """Seal `plain`; it opens only together with the same `bound_to` (the row it belongs to)."""
        number, cipher = self._ciphers[0]
        nonce = os.urandom(_NONCE)
        return bytes((number,)) + nonce + cipher.encrypt(nonce, plain, bound_to)

    def unseal(self, sealed: bytes, bound_to: bytes) -> bytes:
        """Open what `seal` made, or raise Unsealable."""
        nonce, text = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        for number, cipher in self._ciphers:
            if sealed[:1] == bytes((number,)):
                try:
                    return cipher.decrypt(nonce, text, bound_to)
                except (InvalidTag, ValueError):
                    # Two keys may share a number; the next one may be the right one.
                    continue
        raise Unsealable("A sealed value could not be opened with any of the configured keys.")


def hash_key(key: str) -> bytes:
    """SHA-256 of an API key: enough for 256 bits of randomness, and the only form that is stored."""
    return hashlib.sha256(key.encode()).digest()


def recipient_key(index_key: bytes, address: str) -> int:
    """Eight bytes of a keyed HMAC of an address, as a signed 64-bit integer, to look an address up by.

    The domain is compared without regard to case, and so is the local part: no provider in use tells
    `Ann@` from `ann@`, and a suppression that a capital letter escapes would be worth nothing.
    """
    digest = hmac.digest(index_key, address.strip().lower().encode(), "sha256")
    return int.from_bytes(digest[:8], "big", signed=True)


def keyed_token(index_key: bytes, what: str) -> str:
    """A 128-bit token that only this installation can make for `what`, url-safe."""
    return hmac.digest(index_key, b"token:" + what.encode(), "sha256")[:16].hex()


def same(left: str | bytes, right: str | bytes) -> bool:
    """Compare in constant time."""
    a = left.encode() if isinstance(left, str) else left
    b = right.encode() if isinstance(right, str) else right
    return hmac.compare_digest(a, b)
