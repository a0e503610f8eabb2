"""What a vendor says of a mail is kept without what it quotes from it."""

from datetime import UTC, datetime

import pytest

from postroom.providers.base import (
    Answer,
    Attachment,
    DeliveryEvent,
    EventKind,
    Outcome,
    OutcomeKind,
)
from postroom.providers.quoting import codes_of, unquoted
from tests.providers.contract import a_mail, some_mails

MAIL = a_mail(
    attachments=(Attachment("jane-roe.exe", "QQ=="),),
    headers={"X-Ward": "oncology", "X-Bed": "7"},
    tags=(("kind", "biopsy"),),
)


def said(*reasons: str | None) -> Answer:
    return Answer(tuple(Outcome(OutcomeKind.REJECTED, reason=reason) for reason in reasons))


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("Illegal filename 'jane-roe.exe'.", "Illegal filename '…'."),
        ("Illegal filename JANE-ROE.EXE.", "Illegal filename …."),
        ("The file jane-roe has no type.", "The file … has no type."),
        ("Spam: Biopsy result 1.", "Spam: …."),
        ("No such person: jane roe.", "No such person: …."),
        ("Bad header oncology.", "Bad header …."),
        ("Bad tag biopsy at 7.", "Bad tag … at 7."),
        ("Maximum sending rate exceeded.", "Maximum sending rate exceeded."),
    ],
)
def test_what_it_quotes_is_taken_out(sentence, kept):
    assert unquoted(said(sentence), [MAIL]).outcomes[0].reason == kept


def test_one_mails_refusal_may_quote_another_of_the_same_call():
    mails = some_mails(3)
    answer = unquoted(said(None, "Biopsy result 3 is spam.", None), mails)
    assert [o.reason for o in answer.outcomes] == [None, "… is spam.", None]


def test_what_a_server_says_of_one_recipient_is_taken_out_too():
    event = DeliveryEvent(
        "1", EventKind.SOFT_BOUNCED, datetime.now(UTC), reason="No oncology here."
    )
    answer = Answer((Outcome(OutcomeKind.ACCEPTED, "id"),), later=((0.0, event),))
    assert unquoted(answer, [MAIL]).later[0][1].reason == "No … here."


def test_an_answer_without_a_sentence_stays_as_it_is():
    answer = Answer((Outcome(OutcomeKind.ACCEPTED, "id"),))
    assert unquoted(answer, [MAIL]) is answer


@pytest.mark.parametrize(
    ("sentence", "codes"),
    [
        ("550 5.1.1 <jane@example.com> has left the ward", "550 5.1.1"),
        ("smtp; 550-5.7.1 Message about HIV refused 5.7.1", "550 5.7.1"),
        ("421 too many", "421"),
        ("4.2.2 The mailbox of room 512 is full", "4.2.2"),
    ],
)
def test_of_a_servers_words_only_its_codes_are_left(sentence: str, codes: str) -> None:
    assert codes_of(sentence).startswith(f"The mail server said {codes}. ")


@pytest.mark.parametrize("sentence", ["No room 550 here", "Unknown patient", "10.2.3.4 is blocked"])
def test_a_number_among_a_servers_words_is_no_code(sentence: str) -> None:
    assert codes_of(sentence).startswith("The mail server gave no code. ")
