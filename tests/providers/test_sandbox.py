"""The sandbox keeps what every provider keeps, and plays each recipient's fate the same way every time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from postroom.errors import ProviderRefused
from postroom.ids import new_id
from postroom.providers import sandbox
from postroom.providers.base import EventKind, OutcomeKind
from postroom.providers.sandbox import Sandbox
from tests.providers.contract import (
    ProviderContract,
    Vendor,
    a_mail,
    no_network,
    some_mails,
    with_attachment,
)

FATES = [
    ("delivered@x.test", [EventKind.ACCEPTED, EventKind.DELIVERED]),
    ("anybody@else.test", [EventKind.ACCEPTED, EventKind.DELIVERED]),
    ("bounced@x.test", [EventKind.ACCEPTED, EventKind.HARD_BOUNCED]),
    ("Bounced+label@any.domain", [EventKind.ACCEPTED, EventKind.HARD_BOUNCED]),
    ("Jane <bounced+7@x.test>", [EventKind.ACCEPTED, EventKind.HARD_BOUNCED]),
    ("complained@x.test", [EventKind.ACCEPTED, EventKind.DELIVERED, EventKind.COMPLAINED]),
    ("delayed@x.test", [EventKind.ACCEPTED, EventKind.DEFERRED, EventKind.DELIVERED]),
    ("suppressed@x.test", [EventKind.ACCEPTED, EventKind.SUPPRESSED]),
    ("failed@x.test", [EventKind.ACCEPTED, EventKind.FAILED]),
    ("notbounced@x.test", [EventKind.ACCEPTED, EventKind.DELIVERED]),
]


class NoWire(Vendor):
    """There is nobody at the other end; faults are the sandbox's own."""

    def __init__(self) -> None:
        self.faults: dict[str, object] = {}

    def accept(self) -> None:
        self.faults.clear()

    def fail(self, failure: str) -> None:
        self.faults[failure] = 100

    def bodies(self) -> list[bytes]:
        return []


@pytest.fixture(autouse=True)
def another_process():
    """Each test starts in a process that remembers nothing."""
    sandbox._KEPT.clear()


@pytest.fixture
async def http():
    async with httpx.AsyncClient(transport=httpx.MockTransport(no_network)) as client:
        yield client


class TestSandbox(ProviderContract):
    provider_class = Sandbox
    failures = {"throttlePercent": OutcomeKind.THROTTLED}
    misfits = {
        "nobody": lambda: a_mail(to=(), cc=()),
        "fifty-one recipients": lambda: a_mail(to=("a@x.test",) * 50),
        "over 40 MB": lambda: a_mail(html="x" * 40_000_001),
    }

    @pytest.fixture
    def vendor(self):
        return NoWire()

    @pytest.fixture
    def provider(self, vendor, http):
        return Sandbox({"faults": vendor.faults}, http)

    @pytest.mark.parametrize(("address", "kinds"), FATES)
    async def test_an_address_has_its_fate(self, provider, address, kinds):
        answer = await provider.send([a_mail(to=(address,), cc=())], str(new_id()))
        assert [event.kind for _, event in answer.later] == kinds
        assert [seconds for seconds, _ in answer.later] == sorted(s for s, _ in answer.later)
        assert {event.provider_id for _, event in answer.later} == {answer.outcomes[0].provider_id}
        assert {event.ref for _, event in answer.later} == {a_mail().ref}
        bare = address.removeprefix("Jane <").removesuffix(">")
        assert {event.recipient for _, event in answer.later} == {bare}
        assert all(event.spares_address for _, event in answer.later)

    async def test_a_hard_bounce_says_550_5_1_1(self, provider):
        answer = await provider.send([a_mail(to=("bounced@x.test",), cc=())], "k")
        bounce = answer.later[-1][1]
        assert bounce.code == "550 5.1.1"
        assert bounce.reason.startswith("550 5.1.1")

    async def test_each_recipient_has_a_fate_of_its_own(self, provider):
        mail = a_mail(to=("bounced@x.test", "ok@x.test"), cc=("failed@x.test",), bcc=("l@x.test",))
        answer = await provider.send([mail], str(new_id()))
        told = [(event.recipient, event.kind) for _, event in answer.later]
        assert told == [
            (None, EventKind.ACCEPTED),
            ("bounced@x.test", EventKind.HARD_BOUNCED),
            ("ok@x.test", EventKind.DELIVERED),
            ("failed@x.test", EventKind.FAILED),
            ("l@x.test", EventKind.DELIVERED),
        ]
        assert len({event.event_id for _, event in answer.later}) == 5

    async def test_a_repeat_gets_the_same_ids_also_after_a_restart(self, provider):
        key = str(new_id())
        first = await provider.send(some_mails(3), key)
        again = await provider.send(some_mails(3), key)
        sandbox._KEPT.clear()
        restarted = await provider.send(some_mails(3), key)
        assert first.outcomes == again.outcomes == restarted.outcomes
        ids = [event.event_id for _, event in first.later]
        assert ids == [event.event_id for _, event in restarted.later]

    async def test_another_key_is_another_hand_over(self, provider):
        one = await provider.send(some_mails(1), str(new_id()))
        two = await provider.send(some_mails(1), str(new_id()))
        assert one.outcomes != two.outcomes

    async def test_other_mails_under_a_known_key_are_parked_with_an_alarm(self, provider):
        key = str(new_id())
        await provider.send(some_mails(2), key)
        answer = await provider.send(some_mails(3), key)
        assert [o.kind for o in answer.outcomes] == [OutcomeKind.UNKNOWN] * 3
        assert all(o.alarm for o in answer.outcomes)

    async def test_attachments_ride_in_a_batch(self, provider):
        answer = await provider.send([with_attachment(1), with_attachment(2)], "k")
        assert [o.kind for o in answer.outcomes] == [OutcomeKind.ACCEPTED] * 2

    async def test_its_credentials_are_always_good(self, provider):
        await provider.verify()

    async def test_a_rate_is_named_when_one_is_set(self, http):
        answer = await Sandbox({"ratePerSecond": 7}, http).send(some_mails(1), "k")
        assert answer.limit == 7
        assert (await Sandbox({}, http).send(some_mails(1), "k")).limit is None


class TestWhatBecameOfAMail:
    async def sent(self, http, *addresses, minutes_ago=0):
        key = new_id()
        moved = key.int - (minutes_ago * 60_000 << 80)
        made = str(UUID(int=moved))
        return await Sandbox({}, http).send([a_mail(to=addresses, cc=())], made)

    @pytest.mark.parametrize(("address", "kinds"), FATES)
    async def test_it_can_be_asked_after_a_restart(self, http, address, kinds):
        answer = await self.sent(http, address, minutes_ago=5)
        live = await Sandbox({}, http).fetch_status(answer.outcomes[0].provider_id)
        assert [event.kind for event in live.events] == kinds
        assert live.last_event == kinds[-1].value == live.raw["last_event"]
        assert [e.event_id for e in live.events] == [e.event_id for _, e in answer.later]
        age = datetime.now(UTC) - live.events[0].at
        assert timedelta(minutes=4) < age < timedelta(minutes=6)

    async def test_it_tells_no_event_before_its_time(self, http):
        answer = await self.sent(http, "delayed@x.test")
        live = await Sandbox({}, http).fetch_status(answer.outcomes[0].provider_id)
        assert EventKind.DELIVERED not in [event.kind for event in live.events]

    async def test_a_key_without_a_time_in_it_is_long_past(self, http):
        answer = await Sandbox({}, http).send([a_mail(cc=())], str(uuid4()))
        live = await Sandbox({}, http).fetch_status(answer.outcomes[0].provider_id)
        assert live.last_event == "delivered"

    @pytest.mark.parametrize(
        "stranger", ["", "re_1", "sb_x_d", "sb_ffffffff-ffff-ffff-ffff-ffffffffffff_d"]
    )
    async def test_an_id_of_another_vendor_is_unknown(self, http, stranger):
        with pytest.raises(ProviderRefused) as refused:
            await Sandbox({}, http).fetch_status(stranger)
        assert refused.value.status == 404


class TestFaults:
    async def test_latency(self, http):
        before = datetime.now(UTC)
        await Sandbox({"faults": {"latencyMs": 80}}, http).send(some_mails(1), "k")
        assert datetime.now(UTC) - before >= timedelta(milliseconds=79)

    async def test_throttled_mails_are_provably_not_sent(self, http):
        answer = await Sandbox({"faults": {"throttlePercent": 100}}, http).send(some_mails(2), "k")
        assert [o.kind for o in answer.outcomes] == [OutcomeKind.THROTTLED] * 2
        assert answer.later == ()
        assert answer.pause == 1.0

    async def test_a_lost_answer_is_found_by_a_repeat_and_its_events_come_all_the_same(self, http):
        provider = Sandbox({"faults": {"dropAfterAcceptPercent": 100}}, http)
        lost = await provider.send(some_mails(2), "k")
        assert [o.kind for o in lost.outcomes] == [OutcomeKind.UNKNOWN] * 2
        found = await provider.send(some_mails(2), "k")
        assert [o.kind for o in found.outcomes] == [OutcomeKind.ACCEPTED] * 2
        ids = [event.event_id for _, event in found.later]
        assert [event.event_id for _, event in lost.later] == ids

    async def test_an_answer_slower_than_the_caller_waits_is_lost(self, http, monkeypatch):
        async def no_time(seconds):
            assert seconds == 10

        monkeypatch.setattr(sandbox.asyncio, "sleep", no_time)
        answer = await Sandbox({"faults": {"latencyMs": 60_000}}, http).send(some_mails(2), "k")
        assert answer.outcomes[0].kind is OutcomeKind.UNKNOWN

    async def test_duplicate_events_carry_the_same_id(self, http):
        provider = Sandbox({"faults": {"duplicateEvents": True}}, http)
        answer = await provider.send([a_mail(cc=())], "k")
        ids = [event.event_id for _, event in answer.later]
        assert len(ids) == 2 * len(set(ids)) == 4

    async def test_silent_events_leave_only_the_receipt(self, http):
        provider = Sandbox({"faults": {"silentEvents": True}}, http)
        answer = await provider.send([a_mail(cc=())], str(uuid4()))
        assert answer.later == ()
        live = await provider.fetch_status(answer.outcomes[0].provider_id)
        assert live.last_event == "delivered"

    @pytest.mark.parametrize("faults", [None, "x", {"latencyMs": "x", "throttlePercent": -5}])
    async def test_switches_that_make_no_sense_are_off(self, http, faults):
        answer = await Sandbox({"faults": faults}, http).send(some_mails(1), "k")
        assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED

    async def test_a_percentage_strikes_about_so_often(self, http):
        provider = Sandbox({"faults": {"throttlePercent": 30}}, http)
        answers = [await provider.send(some_mails(1), f"key-{n}") for n in range(500)]
        struck = sum(a.outcomes[0].kind is OutcomeKind.THROTTLED for a in answers)
        assert 100 < struck < 200

    async def test_its_memory_is_bounded(self, http, monkeypatch):
        monkeypatch.setattr(sandbox, "_REMEMBERED_CALLS", 10)
        provider = Sandbox({}, http)
        for n in range(30):
            await provider.send(some_mails(1), f"key-{n}")
        assert len(sandbox._KEPT) == 10
