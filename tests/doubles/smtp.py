"""A local SMTP server with TLS and sign-in that answers as it is told; aiosmtpd does the talking.

The local part of a recipient may be a reply: `550-5.1.1@x.test` is refused with `550 5.1.1`.
"""

import asyncio
import ipaddress
import ssl
import tempfile
import warnings
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def make_certificate(*hosts: str) -> tuple[ssl.SSLContext, str]:
    """A context for a server at 127.0.0.1 and of these names, and the certificate that its clients must trust."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smtp.test")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([address, *map(x509.DNSName, hosts)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "both.pem")
        path.write_bytes(secret + pem)
        context.load_cert_chain(path)
    return context, pem.decode()


class SmtpDouble:
    """The server and its switches; `replies` are told at MAIL, RCPT and DATA."""

    def __init__(self, *, implicit_tls: bool = True, offer_tls: bool = True) -> None:
        self.context, self.certificate = make_certificate()
        self.implicit_tls = implicit_tls
        self.offer_tls = offer_tls
        self.port = 0
        self.replies: dict[str, str] = {}
        self.drop_at: str | None = None  # MAIL, RCPT, DATA (before its text) or END (after it)
        self.hang_at: str | None = None
        self.users = {"jane": "secret"}
        self.mails: list[Envelope] = []
        self.counts: Counter[str] = Counter()
        self._released = asyncio.Event()
        self._protocols: list[SMTP] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        tls = self.context if self.implicit_tls else None
        self._server = await loop.create_server(self._make, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._released.set()
        self._server.close()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Close every connection, as a server that is restarted does."""
        for protocol in self._protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
        self._protocols.clear()

    def _make(self) -> SMTP:
        self.counts["connections"] += 1
        starttls = self.offer_tls and not self.implicit_tls
        with warnings.catch_warnings():
            # aiosmtpd does not know that these connections are encrypted from their first byte.
            warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")
            made = SMTP(
                self,
                tls_context=self.context if starttls else None,
                require_starttls=starttls,
                auth_required=True,
                auth_require_tls=starttls,
                authenticator=self._authenticate,
                enable_SMTPUTF8=False,
                data_size_limit=40_000_000,
                loop=asyncio.get_running_loop(),
            )
        self._protocols.append(made)
        return made

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        self.counts["sign-ins"] += 1
        known = isinstance(given, LoginPassword) and (
            self.users.get(given.login.decode()) == given.password.decode()
        )
        return AuthResult(success=known, handled=False)

    # What aiosmtpd calls while it talks:

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.counts["MAIL"] += 1
        await self._misbehave(server, "MAIL")
        if (reply := self.replies.get("MAIL")) is not None:
            return reply
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await self._misbehave(server, "RCPT")
        code, _, enhanced = address.partition("@")[0].partition("-")
        if code.isdigit() and len(code) == 3:
            return f"{code} {enhanced} <{address}> is refused".replace("  ", " ")
        if (reply := self.replies.get("RCPT")) is not None:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if (reply := self.replies.get("DATA")) is not None:
            return reply
        self.mails.append(envelope)
        await self._misbehave(server, "END")
        return self.replies.get("END", "250 2.0.0 queued")

    async def _misbehave(self, server: SMTP, place: str) -> None:
        if self.drop_at == place and server.transport is not None:
            server.transport.abort()
        if self.hang_at == place:
            await self._released.wait()
