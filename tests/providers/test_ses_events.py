"""Amazon SES's events, in both formats, mean what its documentation says."""

import orjson
import pytest

from postroom.providers.base import EventKind
from postroom.providers.ses_events import read_notification

MAIL = {
    "timestamp": "2026-11-20T10:00:00.000Z",
    "messageId": "0100018",
    "destination": ["canary@patients.test"],
    "tags": {"postroom": ["ref-1"], "ses:configuration-set": ["tls"]},
}


def told(name: str, detail: dict, *, classic: bool = False, mail: dict = MAIL) -> list:
    field = {"Rendering Failure": "failure"}.get(name, name[0].lower() + name[1:])
    body = {"notificationType" if classic else "eventType": name, "mail": mail, field: detail}
    return read_notification(orjson.dumps(body).decode())


def bounce(kind: str, sub: str, *addresses: str) -> dict:
    return {
        "bounceType": kind,
        "bounceSubType": sub,
        "bouncedRecipients": [
            {"emailAddress": a, "diagnosticCode": f"smtp; 550 5.1.1 <{a}> unknown"}
            for a in addresses
        ],
        "timestamp": "2026-11-20T10:00:02.000Z",
        "feedbackId": "feed-1",
    }


@pytest.mark.parametrize("classic", [True, False])
@pytest.mark.parametrize(
    ("kind", "sub", "meaning"),
    [
        ("Permanent", "General", EventKind.HARD_BOUNCED),
        ("Permanent", "NoEmail", EventKind.HARD_BOUNCED),
        ("Permanent", "Suppressed", EventKind.SUPPRESSED),
        ("Permanent", "OnAccountSuppressionList", EventKind.SUPPRESSED),
        ("Transient", "General", EventKind.SOFT_BOUNCED),
        ("Transient", "MailboxFull", EventKind.SOFT_BOUNCED),
        ("Transient", "AttachmentRejected", EventKind.SOFT_BOUNCED),
        ("Undetermined", "Undetermined", EventKind.SOFT_BOUNCED),
    ],
)
def test_a_bounce_is_what_its_types_say(classic, kind, sub, meaning):
    (event,) = told("Bounce", bounce(kind, sub, "canary@patients.test"), classic=classic)
    assert (event.kind, event.code) == (meaning, f"{kind}/{sub}")
    assert (event.recipient, event.provider_id, event.ref) == (
        "canary@patients.test",
        "0100018",
        "ref-1",
    )
    assert event.reason == "smtp; 550 5.1.1 <<address>> unknown"
    assert event.at.isoformat() == "2026-11-20T10:00:02+00:00"


@pytest.mark.parametrize("kind", ["Transient", "Undetermined"])
def test_an_out_of_office_answer_is_no_bounce(kind):
    assert told("Bounce", bounce(kind, "General")) == []


def test_both_formats_of_one_bounce_are_one_event():
    detail = bounce("Permanent", "General", "a@x.test", "b@x.test")
    first, second = told("Bounce", detail), told("Bounce", detail, classic=True)
    assert [e.event_id for e in first] == [e.event_id for e in second]
    assert len({e.event_id for e in first}) == 2


def complaint(*addresses: str, **more: str) -> dict:
    recipients = [{"emailAddress": a} for a in addresses]
    return {"complainedRecipients": recipients, "feedbackId": "f", **more}


def test_a_complaint_of_one_suppresses_and_of_several_accuses_nobody():
    (alone,) = told("Complaint", complaint("a@x.test", complaintFeedbackType="abuse"))
    assert (alone.kind, alone.spares_address, alone.code) == (EventKind.COMPLAINED, False, "abuse")
    several = told("Complaint", complaint("a@x.test", "b@x.test"))
    assert [(e.kind, e.spares_address) for e in several] == [(EventKind.COMPLAINED, True)] * 2


def test_not_spam_is_no_complaint_and_a_listed_address_is_suppressed():
    assert told("Complaint", complaint("a@x.test", complaintFeedbackType="not-spam")) == []
    listed = complaint("a@x.test", complaintSubType="OnAccountSuppressionList")
    (event,) = told("Complaint", listed)
    assert event.kind is EventKind.SUPPRESSED


@pytest.mark.parametrize(
    ("name", "detail", "kind"),
    [
        ("Send", {}, EventKind.ACCEPTED),
        ("Delivery", {"recipients": ["canary@patients.test"]}, EventKind.DELIVERED),
        ("Reject", {"reason": "Bad content"}, EventKind.FAILED),
        ("Rendering Failure", {"errorMessage": "no value"}, EventKind.FAILED),
        (
            "DeliveryDelay",
            {"delayType": "MailboxFull", "delayedRecipients": [{"emailAddress": "a@x.test"}]},
            EventKind.DEFERRED,
        ),
        ("Open", {"ipAddress": "192.0.2.1"}, EventKind.OPENED),
        ("Click", {"link": "https://clinic.test/secret"}, EventKind.CLICKED),
        (
            "Subscription",
            {
                "newTopicPreferences": {
                    "topicSubscriptionStatus": [{"subscriptionStatus": "OptOut"}]
                }
            },
            EventKind.UNSUBSCRIBED,
        ),
        ("Subscription", {"newTopicPreferences": {"unsubscribeAll": True}}, EventKind.UNSUBSCRIBED),
    ],
)
def test_each_type_has_its_meaning(name, detail, kind):
    assert [event.kind for event in told(name, detail)] == [kind]


def test_a_change_that_is_no_opt_out_and_an_unknown_type_tell_nothing():
    assert told("Subscription", {"newTopicPreferences": {"unsubscribeAll": False}}) == []
    assert told("Dream", {}) == []


def test_our_id_is_found_in_the_headers_where_there_are_no_tags():
    headers = [{"name": "From", "value": "x"}, {"name": "x-postroom-id", "value": "ref-2"}]
    mail = {"messageId": "1", "headers": headers}
    (event,) = told("Delivery", {"recipients": ["a@x.test"]}, classic=True, mail=mail)
    assert event.ref == "ref-2"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"mail": 7}', '{"mail": {}, "eventType": 7}']
)
def test_odd_messages_tell_nothing(text):
    assert read_notification(text) == []
