"""From pairs to the two files of a dataset: curation, split, canonical rows, digest."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.dataset.curation import Pair, curate
from tuner.dataset.split import MIN_PAIRS, split
from tuner.dataset.writers import chat_jsonl
from tuner.training_job import dataset_digest

TEXTS = st.text(max_size=6) | st.sampled_from(["a", "Error: 500", "[Note: no api key]"])
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=40)
DISTINCT_PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=MIN_PAIRS, max_size=60, unique=True)


def many(count: int) -> list[Pair]:
    return [(f"question {n}", f"answer {n}") for n in range(count)]


# -- curation --------------------------------------------------------------------------------------


@given(PAIRS)
def test_every_pair_is_kept_or_dropped_exactly_once(pairs: list[Pair]) -> None:
    curated = curate(pairs)
    assert len(pairs) == len(curated.kept) + curated.dropped.total()
    assert set(curated.kept) <= set(pairs)


@given(PAIRS)
def test_curating_twice_changes_nothing(pairs: list[Pair]) -> None:
    once = curate(pairs)
    again = curate(once.kept)
    assert (again.kept, again.dropped.total()) == (once.kept, 0)


def test_exact_duplicates_are_dropped_and_the_first_keeps_its_place() -> None:
    curated = curate([("a", "1"), ("b", "2"), ("a", "1"), ("a", "3")])
    assert curated.kept == (("a", "1"), ("b", "2"), ("a", "3"))
    assert curated.dropped == {"duplicate": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "[Note: Full LLM integration requires API key. Responses are simulated.]",
        "I hear you.\n\n[Note: Full LLM integration requires API key…]",
        "[note: model not configured]",
        "Missing API key",
        "This requires an API key to work.",
        "Invalid api_key provided",
        "Error: connection refused",
        "Exception: rate limit exceeded",
        'Traceback (most recent call last):\n  File "x.py"',
    ],
)
def test_a_canned_reply_is_dropped(reply: str) -> None:
    assert curate([("Hi", reply)]).dropped == {"canned": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "I made an error in the soup, dear.",
        "The key is under the mat.",
        "Errors are how we learn.",
        "My note: buy milk. The key is patience.",
        "[Note: I love you]",
        "[smiles] There is no key to my heart but yours.",
        "Every rule has its exception: this is ours.",
        "An API is a kind of promise.",
    ],
)
def test_an_ordinary_sentence_about_keys_and_errors_stays(reply: str) -> None:
    assert curate([("Hi", reply)]).kept == (("Hi", reply),)


def test_a_prompt_about_errors_does_not_make_its_reply_canned() -> None:
    assert curate([("Error: missing API key. What now?", "Breathe.")]).dropped.total() == 0


# -- split -----------------------------------------------------------------------------------------


@given(DISTINCT_PAIRS)
def test_every_pair_is_trained_on_or_held_out(pairs: list[Pair]) -> None:
    train, held_out = split(pairs)
    assert len(held_out) >= 3
    assert not set(train) & set(held_out)
    assert sorted(train + held_out) == sorted(pairs)


@given(DISTINCT_PAIRS, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order(pairs: list[Pair], rng: random.Random) -> None:
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    assert [set(part) for part in split(shuffled)] == [set(part) for part in split(pairs)]


def test_both_parts_keep_the_order_of_the_pairs() -> None:
    pairs = many(50)
    train, held_out = split(pairs)
    assert train == [pair for pair in pairs if pair in set(train)]
    assert held_out == [pair for pair in pairs if pair in set(held_out)]


def test_a_tenth_is_held_out_of_a_large_corpus() -> None:
    _, held_out = split(many(2000))
    assert 150 <= len(held_out) <= 250


def test_what_a_large_corpus_holds_out_stays_held_out_as_it_grows() -> None:
    """Else yesterday's test questions would be trained on tomorrow."""
    held_out: set[Pair] = set()
    for count in (200, 210, 500, 2000):
        grown = set(split(many(count))[1])
        assert held_out <= grown
        held_out = grown


def test_the_split_never_changes_between_releases() -> None:
    """Another split is another dataset, and another bill, for the same upload."""
    assert [user for user, _ in split(many(12))[1]] == ["question 2", "question 5", "question 9"]


# -- canonical rows --------------------------------------------------------------------------------


@given(PAIRS)
def test_each_line_is_the_json_of_one_pair(pairs: list[Pair]) -> None:
    lines = chat_jsonl(pairs).decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == [
        {
            "messages": [
                {"role": "user", "content": user},
                {"role": "assistant", "content": reply},
            ]
        }
        for user, reply in pairs
    ]


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x1e"])
def test_a_line_separator_inside_a_text_ends_no_line(separator: str) -> None:
    raw = chat_jsonl([(f"a{separator}b", "c")])
    [line] = raw.splitlines()
    assert json.loads(line)["messages"][0]["content"] == f"a{separator}b"


def test_the_same_pairs_give_the_same_bytes() -> None:
    assert (
        chat_jsonl([("Grüße", "🦉 /")])
        == (
            '{"messages":[{"role":"user","content":"Grüße"},'
            '{"role":"assistant","content":"🦉 /"}]}\n'
        ).encode()
    )


def test_no_pairs_give_an_empty_file() -> None:
    assert chat_jsonl([]) == b""


# -- the dataset's id ------------------------------------------------------------------------------


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(1, 20))
def test_a_row_that_moves_to_the_other_file_makes_another_dataset(
    train: bytes, held_out: bytes, moved: int
) -> None:
    train += b"x"
    cut = max(0, len(train) - moved)
    assert dataset_digest(train, held_out) != dataset_digest(train[:cut], train[cut:] + held_out)


def test_the_digest_is_sha256_in_hex_and_never_changes_between_releases() -> None:
    assert dataset_digest(b"a\n", b"b\n") == hashlib.sha256(b"2\na\n2\nb\n").hexdigest()


@pytest.mark.parametrize("token", ["<|im_end|>", "</s>", "[INST]", "<|endoftext|>"])
def test_a_pair_with_a_base_models_control_token_is_dropped_and_counted(token: str) -> None:
    """One such row would make the trainer refuse the whole dataset."""
    curated = curate(
        [("Hello", f"Hello {token} dear"), (f"What is {token}?", "A mark"), ("a", "b")]
    )
    assert curated.kept == (("a", "b"),)
    assert curated.dropped == {"control_token": 2}
