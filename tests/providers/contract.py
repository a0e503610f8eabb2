"""What every provider keeps: inherit `ProviderContract`, give it a provider and its vendor."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import httpx
import pytest

from postroom.errors import Unsupported
from postroom.providers import BY_NAME, PROVIDERS
from postroom.providers.base import (
    Attachment,
    EventKind,
    OutcomeKind,
    OutgoingMail,
    Provider,
    WebhookRequest,
    without_addresses,
)

# Nothing of these may ever be found in a reason.
SECRETS = ("canary@patients.test", "copy@patients.test", "Biopsy result", "positive", "sk-canary")
WHOLE_NUMBER = "0190f5a8-7b1c-7def-8abc-0123456789ab"


def a_mail(number: int = 1, **changes: Any) -> OutgoingMail:
    """A mail with everything that every vendor carries."""
    mail = OutgoingMail(
        ref=f"0190f5a8-0000-7000-8000-{number:012d}",
        sender="Clinic <hello@clinic.test>",
        to=("Jane Roe <canary@patients.test>",),
        subject=f"Biopsy result {number}",
        html="<p>positive &amp; well</p>",
        text="positive",
        cc=("copy@patients.test",),
        reply_to=("desk@clinic.test",),
        headers={"X-Ward": "7", "List-Unsubscribe": "<https://clinic.test/u/1>"},
        tags=(("kind", "result"),),
    )
    return mail._replace(**changes)


def with_attachment(number: int = 1) -> OutgoingMail:
    scan = Attachment("scan.txt", "cG9zaXRpdmU=", "text/plain", "scan-1")
    return a_mail(number, attachments=(scan,))


def some_mails(count: int) -> list[OutgoingMail]:
    return [a_mail(number) for number in range(1, count + 1)]


class Vendor(ABC):
    """The other end of a provider, told how to answer."""

    @abstractmethod
    def accept(self) -> None:
        """Take everything from now on."""

    @abstractmethod
    def fail(self, failure: str) -> None:
        """Answer every call from now on as this failure of the provider's table does."""

    @abstractmethod
    def bodies(self) -> list[bytes]:
        """What was said to it in each call; nothing where there is no wire."""


class ProviderContract:
    """Inherit this, override the fixtures, fill the tables."""

    provider_class: ClassVar[type[Provider]]
    # Every way in which a call may end without acceptance, and what the domain must make of it.
    failures: ClassVar[Mapping[str, OutcomeKind]] = {}
    # Mails that this vendor could never carry.
    misfits: ClassVar[Mapping[str, Callable[[], OutgoingMail]]] = {}

    @pytest.fixture
    def vendor(self) -> Vendor:
        raise NotImplementedError

    @pytest.fixture
    def provider(self, vendor: Vendor) -> Provider:
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        for name, table in (("failure", self.failures), ("misfit", self.misfits)):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, sorted(table))

    # ── What it says of itself ───────────────────────────────────────────────────────────────────

    def test_it_is_registered_under_its_name(self):
        assert BY_NAME[self.provider_class.name] is self.provider_class
        assert self.provider_class in PROVIDERS
        assert self.provider_class.title
        assert self.provider_class.wire.startswith(f"{self.provider_class.name}-")

    def test_its_capabilities_do_not_contradict_each_other(self):
        can = self.provider_class.capabilities
        assert can.batch_size >= 1
        assert can.idempotent == (can.key_life_hours > 0)
        assert can.attachments or not can.attachments_in_batch
        assert 0 < can.call_timeout <= 60
        assert 0 < can.batch_timeout <= 60
        assert can.max_mail_bytes > 0
        assert can.rate_per_second is None or can.rate_per_second > 0
        assert {EventKind.DELIVERED, EventKind.HARD_BOUNCED} <= can.events or not can.events

    def test_it_can_do_what_it_promises(self):
        own = vars(self.provider_class)
        assert "send" in own
        assert ("fetch_status" in own) == self.provider_class.capabilities.receipts

    @pytest.mark.parametrize("ability", ["verify", "fetch_status", "read_webhook"])
    async def test_what_it_cannot_do_is_a_loud_sentence(self, provider, ability):
        own = vars(self.provider_class)
        if ability in own or (ability == "read_webhook" and "receive" in own):
            return
        with pytest.raises(Unsupported) as refused:
            await _try(provider, ability)
        assert provider.title in refused.value.message
        assert refused.value.message.endswith(".")

    def test_another_credential_is_another_account(self, provider):
        for field in self.provider_class.secret_fields[:1]:
            other = {**provider.credentials, field: "re_another"}
            changed = self.provider_class(other, provider.http)
            assert changed.fingerprint != provider.fingerprint

    # ── Handing over ─────────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("share", [0, 0.5, 1])
    async def test_each_mail_gets_its_own_outcome_in_order(self, provider, vendor, share):
        vendor.accept()
        count = max(1, int(provider.capabilities.batch_size * share))
        answer = await provider.send(some_mails(count), WHOLE_NUMBER)
        assert [outcome.kind for outcome in answer.outcomes] == [OutcomeKind.ACCEPTED] * count
        assert len({outcome.provider_id for outcome in answer.outcomes}) == count
        assert all(outcome.provider_id for outcome in answer.outcomes)

    async def test_a_call_of_no_mails_or_too_many_is_a_bug_of_ours(self, provider, vendor):
        vendor.accept()
        for count in (0, provider.capabilities.batch_size + 1):
            with pytest.raises(ValueError, match="mails"):
                await provider.send(some_mails(count), WHOLE_NUMBER)
        assert vendor.bodies() == []

    @pytest.mark.parametrize("count", [1, 3])
    async def test_a_repeat_is_byte_for_byte_the_same(self, provider, vendor, count):
        count = min(count, provider.capabilities.batch_size)
        vendor.accept()
        await provider.send(some_mails(count), WHOLE_NUMBER)
        # A database may hand the headers back in another order.
        again = [
            mail._replace(headers=dict(reversed(list(mail.headers.items()))))
            for mail in some_mails(count)
        ]
        fresh = self.provider_class(provider.credentials, provider.http)
        await fresh.send(again, WHOLE_NUMBER)
        assert len(set(vendor.bodies())) == min(1, len(vendor.bodies()))

    async def test_a_mail_with_an_attachment_can_go_alone_where_attachments_can(
        self, provider, vendor
    ):
        vendor.accept()
        if not provider.capabilities.attachments:
            assert provider.refuses(with_attachment()).endswith(".")
            return
        mail = with_attachment()
        if not provider.capabilities.inline_images:
            assert provider.refuses(mail).endswith(".")
            plain = replace(mail.attachments[0], content_id=None)
            mail = mail._replace(attachments=(plain,))
        assert provider.refuses(mail) is None
        answer = await provider.send([mail], WHOLE_NUMBER)
        assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED

    # ── When it goes wrong ───────────────────────────────────────────────────────────────────────

    async def test_every_failure_is_an_outcome_and_never_an_exception(
        self, provider, vendor, failure
    ):
        vendor.fail(failure)
        for count in {1, min(3, provider.capabilities.batch_size)}:
            answer = await provider.send(some_mails(count), WHOLE_NUMBER)
            assert [o.kind for o in answer.outcomes] == [self.failures[failure]] * count
            rejected = self.failures[failure] is OutcomeKind.REJECTED
            assert answer.whole_call == (rejected and count > 1)

    async def test_no_reason_tells_whom_or_what_a_mail_was_about(self, provider, vendor, failure):
        vendor.fail(failure)
        answer = await provider.send(some_mails(1), WHOLE_NUMBER)
        for outcome in answer.outcomes:
            assert outcome.reason, "a failure is explained"
            assert outcome.reason == without_addresses(outcome.reason)
            assert not [secret for secret in SECRETS if secret in outcome.reason]

    # ── Before it is accepted ────────────────────────────────────────────────────────────────────

    def test_an_ordinary_mail_is_not_refused(self, provider):
        assert provider.refuses(a_mail()) is None

    def test_a_mail_that_could_never_go_is_refused_with_a_sentence(self, provider, misfit):
        sentence = provider.refuses(self.misfits[misfit]())
        assert sentence is not None
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert not [secret for secret in SECRETS if secret in sentence]


async def _try(provider: Provider, ability: str) -> None:
    if ability == "read_webhook":
        provider.read_webhook(WebhookRequest({}, b""))
    elif ability == "fetch_status":
        await provider.fetch_status("x")
    else:
        await provider.verify()


async def no_network(request: httpx.Request) -> httpx.Response:
    raise AssertionError("this provider has no network")
