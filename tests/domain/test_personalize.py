"""A broadcast's blanks are filled for each person, and nothing a contact says can break out of the mail."""

import pytest

from postroom.domain.personalize import Person, mentions_unsubscribe, read
from postroom.ids import new_id

LINK = "https://mail.example.com/unsubscribe/t"


def person(first: str | None = "Ann", **properties) -> Person:
    return Person(new_id(), "ann@example.com", first, "Lee", properties)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{{contact.first_name|there}}}", "Ann"),
        ("{{{FIRST_NAME|there}}}", "Ann"),
        ("{{{ LAST_NAME }}} {{{contact.last_name}}}", "Lee Lee"),
        ("{{{EMAIL}}} {{{contact.email}}}", "ann@example.com ann@example.com"),
        ("{{{contact.city|nowhere}}} {{{city}}}", "Oslo Oslo"),
        ("{{{contact.planet|Earth}}}{{{planet}}}", "Earth"),
        ("{{{UNSUBSCRIBE_URL}}} {{{RESEND_UNSUBSCRIBE_URL}}}", f"{LINK} {LINK}"),
        ("{{first_name}} {{{first name}}} {{{}}}", "{{first_name}} {{{first name}}} {{{}}}"),
        ("{{{contact.age}}}, {{{contact.member}}}", "7, true"),
    ],
)
def test_a_blank_is_filled_in_every_way_of_writing_it(source: str, expected: str) -> None:
    words = read("s", source, source)
    ann = person(city="Oslo", age=7, member=True)
    assert words.html_for(ann, LINK) == words.text_for(ann, LINK) == expected


def test_what_is_missing_or_empty_gives_the_fallback() -> None:
    words = read("Hi {{{FIRST_NAME|there}}}", "x", None)
    assert words.subject_for(person(None), LINK) == "Hi there"
    assert words.subject_for(person(""), LINK) == "Hi there"
    assert words.text_for(person(), LINK) is None


def test_values_are_escaped_in_html_alone_and_never_filled_a_second_time() -> None:
    words = read("{{{FIRST_NAME}}}", "{{{FIRST_NAME}}}", "{{{FIRST_NAME}}}")
    mallory = person('<b onclick="x">{{{EMAIL}}}')
    assert words.html_for(mallory, LINK) == "&lt;b onclick=&quot;x&quot;&gt;{{{EMAIL}}}"
    assert words.text_for(mallory, LINK) == '<b onclick="x">{{{EMAIL}}}'


def test_a_subject_stays_one_line() -> None:
    words = read("Hi {{{FIRST_NAME}}}", "x", None)
    subject = words.subject_for(person("Ann\r\nBcc: all@example.com\x00"), LINK)
    assert subject == "Hi Ann Bcc: all@example.com"
    assert len(read("x" * 2000, "x", None).subject_for(person(), LINK)) == 998


def test_a_property_that_is_named_a_link_is_one_or_nothing() -> None:
    words = read("s", '<a href="{{{contact.shop_url|https://example.com}}}">', None)
    assert "javascript" not in words.html_for(person(shop_url="javascript:alert(1)"), LINK)
    assert "https://a.b" in words.html_for(person(shop_url="https://a.b"), LINK)


def test_a_property_cannot_take_the_place_of_the_address_or_the_link() -> None:
    words = read("s", "{{{EMAIL}}} {{{UNSUBSCRIBE_URL}}}", None)
    posing = person(email="x@y.z", unsubscribe_url="https://evil.example.com")
    assert words.html_for(posing, LINK) == f"ann@example.com {LINK}"


def test_it_is_known_whether_a_mail_shows_the_way_out() -> None:
    assert mentions_unsubscribe(read("s", "x", "{{{UNSUBSCRIBE_URL}}}"))
    assert not mentions_unsubscribe(read("{{{UNSUBSCRIBE_URL}}}", "x", None))
