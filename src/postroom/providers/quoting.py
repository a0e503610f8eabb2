"""A vendor's sentence may quote the mail, such as the name of an attachment that it does not take.

Sentences are kept in clear and shown in logs, so whatever of the mail stands in one is taken out first. Of what a
mail server tells a health-data project nothing is left but its codes, for it may quote anything.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from email.utils import parseaddr
from functools import lru_cache

from postroom.providers.base import Answer, OutgoingMail

_SHORTEST = 4  # what is shorter stands in many sentences and tells nothing
_GAP = "…"
# A code of RFC 5321 stands first; elsewhere three digits may be the number of a room. Those of RFC 3463 have dots.
_REPLY_CODE = re.compile(r"\s*(?:smtp[;:]\s*)?([245]\d\d)(?=[\s-])", re.IGNORECASE)
_STATUS_CODE = re.compile(r"(?<![\w.-])[245]\.\d{1,3}\.\d{1,3}(?![\w.-])")


def words_of(mail: OutgoingMail) -> frozenset[str]:
    """What a sentence must not repeat; addresses are taken out of every sentence anyway."""
    people = (mail.sender, *mail.to, *mail.cc, *mail.bcc, *mail.reply_to)
    said = [
        mail.subject,
        *(parseaddr(person)[0] for person in people),
        *(attachment.filename for attachment in mail.attachments),
        *(attachment.filename.rpartition(".")[0] for attachment in mail.attachments),
        *mail.headers.values(),
        *(value for _, value in mail.tags),
    ]
    return frozenset(word.strip() for word in said if len(word.strip()) >= _SHORTEST)


def codes_of(sentence: str) -> str:
    """A mail server's sentence without anything but its codes."""
    first = _REPLY_CODE.match(sentence)
    codes = dict.fromkeys(([first[1]] if first else []) + _STATUS_CODE.findall(sentence))
    said = f"The mail server said {' '.join(codes)}." if codes else "The mail server gave no code."
    return f"{said} Its words are sealed in the timeline."


def without_words(sentence: str, words: Iterable[str]) -> str:
    """The sentence with gaps where it repeats one of these, in whatever case."""
    found = _pattern(frozenset(words))
    return found.sub(_GAP, sentence) if found is not None else sentence


@lru_cache(maxsize=8)  # the outcomes of one call have the same words
def _pattern(words: frozenset[str]) -> re.Pattern[str] | None:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if words else None


def unquoted(answer: Answer, mails: Sequence[OutgoingMail]) -> Answer:
    """The answer, in whose sentences nothing of the call's mails is left."""
    if not any(outcome.reason for outcome in answer.outcomes) and not answer.later:
        return answer
    words = frozenset[str]().union(*(words_of(mail) for mail in mails))
    outcomes = tuple(
        replace(outcome, reason=without_words(outcome.reason, words)) if outcome.reason else outcome
        for outcome in answer.outcomes
    )
    later = tuple(
        (wait, replace(event, reason=without_words(event.reason, words)) if event.reason else event)
        for wait, event in answer.later
    )
    return replace(answer, outcomes=outcomes, later=later)
