"""Secrets in chat text are found and replaced; chat that only looks like it stays whole."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.informal_chat import clean_pairs
from support.planted_secrets import PLANTED, Planted
from tuner.dataset.secrets import KINDS, Found, find, redact

ALL_PLANTED = [(kind, planted) for kind, each in PLANTED.items() for planted in each]
CLEAN_TEXTS = [text for pair in clean_pairs() for text in pair]


def kinds(text: str) -> list[str]:
    return [found.kind for found in find(text)]


def redacted(text: str) -> str:
    return redact(text, find(text))


def settings_of(planted: Planted) -> dict[str, str]:
    """The places in a conversation where a secret may stand."""
    return {
        "alone": planted.text,
        "in prose": f"hey so um {planted.text} thanks love, see you tmrw",
        "in quotes": planted.sentence.format(f'"{planted.secret}"'),
        "in a code block": f"```\n{planted.text}\n```",
        "before a full stop": f"{planted.text}.",
        "after capitals": planted.sentence.upper().format(planted.secret),
        "after an emoji": f"💜 {planted.text} 💜",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_planted_secret_is_found_as_its_kind_and_does_not_survive(kind):
    for planted in PLANTED[kind]:
        for setting, text in settings_of(planted).items():
            assert kind in kinds(text), setting
            assert planted.secret not in redacted(text), setting
            assert find(redacted(text)) == [], setting


def test_there_is_an_example_of_every_kind_and_there_are_many():
    assert set(PLANTED) == set(KINDS)
    assert len(set(KINDS)) == len(KINDS) >= 60


def test_five_hundred_clean_exchanges_stay_as_they_are():
    pairs = clean_pairs()
    assert len(pairs) == len(set(pairs)) == len({reply for _, reply in pairs}) == 500
    assert len({len(reply) for _, reply in pairs}) > 60
    assert Counter(kind for text in CLEAN_TEXTS for kind in kinds(text)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "the key under the mat",
        "my password is a secret lol",
        "the password is long",
        "the password is what I always forget",
        "my password is still the same",
        "my password is terrible!",
        "the password is incomprehensibly long",
        "the password is soooooooooooooooo long",
        "the password is 12 characters long",
        "the password is 8-20 characters",
        "my password is on my iPhone",
        "the password is on WhatsApp",
        "password: required",
        "password: ${DB_PASSWORD}",
        "password: ask grandma about it tomorrow",
        "2024 was my pin year",
        "1M tokens: Llama-3.1-8B",
        "Boston, MA 02110-1301",
        "mobile plan 2024-2025 5000 mb",
        "0399 0308 0301",
        "Password: please enter it below",
        'it says the password is "incorrect"',
        "password protected since 2019",
        "reset your password: https://example.com/reset/1234",
        "the secret is to breathe",
        "the pin is on the map",
        "my pin is 4 digits",
        "pin 2024-03-01 to the top",
        "the token is yours",
        "key is patience",
        "the api key is missing",
        "our code word is pineapple",
        "login is easy / fast",
        "log in at 10 / 11",
        "my recovery phrase is that we should all love one another and then sleep well tonight",
        "May 3",
        "2024-03-01",
        "2024-03-01 10:30 2024-03-02",
        "call me 03.05.1990",
        "call me at 10:30",
        "1,234,567",
        "$1234567",
        "order 12345678",
        "phone order number 12345678",
        "+1000000000 aura",
        "2019 2020 2021",
        "3.14159265358979",
        "version 10.4.22.1",
        "the server is 192.168.100.200",
        "550e8400-e29b-41d4-a716-446655440000",
        "#ff00aa",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "ISBN 978-3-16-148410-0, or isbn 0-306-40615-2",
        "<@628374628374628374>",
        "4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 01",
        "cat@2x.png",
        "git@github.com:anna/b.git",
        "@anna are you there",
        "https://example.com:8080/a@b",
        "hahahahahahahahahahahahahaha",
        "-----BEGIN PUBLIC KEY-----",
        "a line that says -----BEGIN RSA PRIVATE " + "KEY----- and nothing else",
    ],
)
def test_what_only_looks_like_a_secret_stays(text):
    assert find(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my password: swordfish", "my password: [password]"),
        ("Password = swordfish.\nthanks", "Password = [password].\nthanks"),
        ('{"user": "anna", "password": "swordfish"}', '{"user": "anna", "password": "[password]"}'),
        ("password:\nhunter2banana", "password:\n[password]"),
        ("(password: hunter2banana)", "(password: [password])"),
        ("the password is “moonlight sonata” ok", "the password is “[password]” ok"),
        ("password: correct horse battery staple", "password: [password]"),
        ("it's hunter2, that's the password", "it's [password], that's the password"),
        ("login anna@example.com:hunter22", "login [email]"),
        ("my pin is 4821 and the cvv is 123", "my pin is [pin] and the cvv is [security-code]"),
        ("mail anna.b@example.com, or lou@example.org.", "mail [email], or [email]."),
        ("call 415-555-2671 or (212) 555-0188", "call [phone] or [phone]"),
        ("12 4111 1111 1111 1111 2024", "12 [credit-card] 2024"),
        ("https://anna" + ":hunter2@example.com/x?y=1", "[url-with-password]/x?y=1"),
        (
            "my seed phrase is legal winner thank year wave sausage worth useful legal winner thank"
            " yellow and that is all",
            "my seed phrase is [seed-phrase] and that is all",
        ),
    ],
)
def test_only_the_secret_is_replaced(text, expected):
    assert redacted(text) == expected


def test_a_form_of_its_own_names_a_secret_before_the_words_around_it_do():
    key = "sk-" + "ant-" + "a1B2" * 10
    assert kinds(f"my api key is {key}") == ["anthropic-key"]
    assert kinds(f"Authorization: Bearer {key}") == ["anthropic-key"]


def test_overlapping_findings_become_one_that_leaves_no_end_behind():
    assert redacted("my password is x9!anna@example.com!y8z") == "my password is [email]"


def test_placeholders_are_nothing_to_find():
    for kind in KINDS:
        for sentence in ("[{}]", "the password is [{}]", "call me at [{}]", "api key: '[{}]'"):
            assert find(sentence.format(kind)) == []


def test_a_finding_holds_no_text():
    (found,) = find("the password is hunter2banana")
    assert found == Found("password", 16, 29)
    assert "hunter2" not in repr(found)


def test_redacting_nothing_changes_nothing():
    assert redact("good night 💜", []) == "good night 💜"


def test_a_key_block_that_was_cut_off_goes_with_what_is_left_of_it():
    block = PLANTED["private-key"][0].secret
    cut = block[: len(block) // 2]
    assert redacted(f"look:\n{cut}") == "look:\n[private-key]"


def test_a_letter_that_grows_in_lower_case_moves_nothing():
    assert redacted("İİ the password is hunter2banana İ") == "İİ the password is [password] İ"


texts = st.lists(st.sampled_from(CLEAN_TEXTS), max_size=3).map(" ".join)
joints = st.sampled_from(["\n", ". ", " 💜 ", "\n\n- "])


@given(before=texts, after=texts, planted=st.sampled_from(ALL_PLANTED), joint=joints)
def test_no_secret_survives_wherever_it_is_said(before, after, planted, joint):
    text = joint.join((before, planted[1].text, after))
    found = find(text)
    assert planted[1].secret not in redact(text, found)
    assert find(redact(text, found)) == []


@given(st.lists(st.sampled_from([each.text for _, each in ALL_PLANTED]) | st.text(max_size=12)))
def test_findings_are_sorted_and_apart_and_redacting_twice_changes_no_more(parts):
    text = " ".join(parts)
    found = find(text)
    places = [place for each in found for place in (each.start, each.end)]
    assert places == sorted(places)
    assert all(0 <= each.start < each.end <= len(text) for each in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert {each.kind for each in found} <= set(KINDS)
    assert redacted(redact(text, found)) == redact(text, found)


@given(st.text(alphabet="pasword: is'\"[]-@.+1aZ/ \n\x00", max_size=80))
def test_no_text_is_redacted_differently_the_second_time(text):
    assert redacted(redacted(text)) == redacted(text)


HOSTILE = {
    "addresses": "a@",
    "digits": "1",
    "digits apart": "1 ",
    "digits and dashes": "11-",
    "passwords": "password is ",
    "passwords for": "password for a b c d ",
    "fences": "-" * 5 + "BEGIN ",
    "whole fences": "-" * 5 + "BEGIN RSA PRIVATE " + "KEY" + "-" * 5,
    "web tokens": "eyJ",
    "web tokens and dots": "eyJaaaaaaaaaa.",
    "schemes": "a://",
    "logins": "https://a:b",
    "seed words": "seed phrase is ab abcd ",
    "names": "aws secret key ",
    "quotes": "password: '",
    "one word": "x",
    "spaces": " ",
    "brackets": "[",
    "phones": "call 0",
    "bearers": "bearer a.",
}
LONGEST = ("addresses", "digits", "passwords", "fences")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_made_to_take_long_is_read_in_time_that_grows_with_its_length(name):
    """A quadratic search would take hours: that this ends is the claim."""
    piece = HOSTILE[name]
    length = 1_000_000 if name in LONGEST else 250_000
    text = piece * (length // len(piece))
    assert len(redacted(text)) <= 2 * len(text)


def test_text_without_a_number_does_not_pay_for_phone_numbers():
    program = (
        "import sys; from tuner.dataset.secrets import find\n"
        "find('the password is hunter2, call me at 10:30 on 2024-03-01, order 12345678')\n"
        "assert 'phonenumbers' not in sys.modules\n"
        "assert find('call me at 4155552671') and 'phonenumbers' in sys.modules\n"
    )
    functions = Path(__file__).parents[2] / "functions"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=functions)


def test_the_clean_chat_is_the_same_each_time():
    state = random.getstate()
    assert clean_pairs() == clean_pairs()
    assert random.getstate() == state
