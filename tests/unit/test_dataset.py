"""From pairs to the two files of a dataset: curation, split, canonical rows, digest."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tuner.conversations.model import Turn
from tuner.conversations.sessions import Example
from tuner.dataset.curation import Curation
from tuner.dataset.draft import Draft, Drafting, part_of
from tuner.dataset.rows import encoder
from tuner.dataset.split import MIN_HELD_OUT, MIN_PAIRS, held_out, is_held_out, position
from tuner.errors import RejectedUpload
from tuner.training_job import dataset_digest

Pair = tuple[str, str]

TEXTS = st.text(max_size=6) | st.sampled_from(["a", "Error: 500", "[Note: no api key]"])
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=40)
DISTINCT_PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=MIN_PAIRS, max_size=60, unique=True)

line_of = encoder("messages")


def many(count: int) -> list[Pair]:
    return [(f"question {n}", f"answer {n}") for n in range(count)]


def example(pair: Pair, system: str | None = None) -> Example:
    return Example([Turn("user", pair[0]), Turn("assistant", pair[1])], system=system)


def curate(pairs: list[Pair]) -> tuple[list[Pair], Counter[str]]:
    """The pairs that stay, and why the others do not."""
    curation = Curation()
    kept = [pair for pair in pairs if curation.keeps(example(pair), line_of(example(pair)))]
    assert curation.kept == len(kept)
    return kept, curation.dropped


def split(pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    """The pairs to train on, and those that are held out."""
    chosen = held_out([position(example(pair)) for pair in pairs])
    return (
        [pair for number, pair in enumerate(pairs) if number not in chosen],
        [pair for number, pair in enumerate(pairs) if number in chosen],
    )


def draft(pairs: list[Pair], held_bytes: int = 1 << 30) -> Draft:
    drafting = Drafting(held_bytes)
    for pair in pairs:
        drafting.add(example(pair), line_of(example(pair)))
    return drafting.finish()


# -- curation --------------------------------------------------------------------------------------


@given(PAIRS)
def test_every_pair_is_kept_or_dropped_exactly_once(pairs: list[Pair]) -> None:
    kept, dropped = curate(pairs)
    assert len(pairs) == len(kept) + dropped.total()
    assert set(kept) <= set(pairs)


@given(PAIRS)
def test_curating_twice_changes_nothing(pairs: list[Pair]) -> None:
    once, _ = curate(pairs)
    again, dropped = curate(once)
    assert (again, dropped.total()) == (once, 0)


def test_exact_duplicates_are_dropped_and_the_first_keeps_its_place() -> None:
    kept, dropped = curate([("a", "1"), ("b", "2"), ("a", "1"), ("a", "3")])
    assert kept == [("a", "1"), ("b", "2"), ("a", "3")]
    assert dropped == {"duplicate": 1}


def test_the_same_pair_under_another_system_prompt_is_another_pair() -> None:
    curation = Curation()
    for system in (None, "Be kind.", "Be brief."):
        asked = example(("a", "1"), system)
        assert curation.keeps(asked, line_of(asked))


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
    assert curate([("Hi", reply)]) == ([], {"canned": 1})


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
    assert curate([("Hi", reply)]) == ([("Hi", reply)], {})


def test_a_prompt_about_errors_does_not_make_its_reply_canned() -> None:
    assert not curate([("Error: missing API key. What now?", "Breathe.")])[1]


@pytest.mark.parametrize("token", ["<|im_end|>", "</s>", "[INST]", "<|endoftext|>"])
def test_a_pair_with_a_base_models_control_token_is_dropped_and_counted(token: str) -> None:
    """One such row would make the trainer refuse the whole dataset."""
    kept, dropped = curate(
        [("Hello", f"Hello {token} dear"), (f"What is {token}?", "A mark"), ("a", "b")]
    )
    assert kept == [("a", "b")]
    assert dropped == {"control_token": 2}


def test_a_control_token_in_a_system_prompt_drops_the_pair_too() -> None:
    curation, asked = Curation(), example(("a", "b"), "<s> Be kind.")
    assert not curation.keeps(asked, line_of(asked))
    assert curation.dropped == {"control_token": 1}


# -- split -----------------------------------------------------------------------------------------


@given(DISTINCT_PAIRS)
def test_every_pair_is_trained_on_or_held_out(pairs: list[Pair]) -> None:
    train, eval_ = split(pairs)
    assert len(eval_) >= MIN_HELD_OUT
    assert not set(train) & set(eval_)
    assert sorted(train + eval_) == sorted(pairs)


@given(DISTINCT_PAIRS, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order(pairs: list[Pair], rng: random.Random) -> None:
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    assert [set(part) for part in split(shuffled)] == [set(part) for part in split(pairs)]


def test_a_tenth_is_held_out_of_a_large_corpus() -> None:
    _, eval_ = split(many(2000))
    assert 150 <= len(eval_) <= 250


def test_what_a_large_corpus_holds_out_stays_held_out_as_it_grows() -> None:
    """Else yesterday's test questions would be trained on tomorrow."""
    before: set[Pair] = set()
    for count in (200, 210, 500, 2000):
        grown = set(split(many(count))[1])
        assert before <= grown
        before = grown


def test_the_split_never_changes_between_releases() -> None:
    """Another split is another dataset, and another bill, for the same upload."""
    assert [user for user, _ in split(many(12))[1]] == ["question 2", "question 5", "question 9"]


# -- drafting --------------------------------------------------------------------------------------


@given(DISTINCT_PAIRS)
def test_a_draft_holds_every_pair_in_order_in_one_of_its_files(pairs: list[Pair]) -> None:
    made = draft(pairs)
    assert made.files is not None
    train, eval_ = split(pairs)
    for part, expected in (("train", train), ("eval", eval_)):
        lines = made.files[part].split(b"\n")  # type: ignore[index]
        assert lines.pop() == b""
        assert lines == [line_of(example(pair)) for pair in expected]
    assert (made.train, made.eval) == (len(train), len(eval_))
    assert made.dataset_id == dataset_digest(made.files["train"], made.files["eval"])


@given(st.integers(MIN_PAIRS, 200), st.integers(-1, 20_000))
def test_a_large_dataset_that_is_only_hashed_is_the_same_as_a_small_one_that_is_held(
    count: int, held_bytes: int
) -> None:
    """Wherever it turns out to be large."""
    pairs = many(count)
    assume(sum(is_held_out(position(example(pair))) for pair in pairs) >= MIN_HELD_OUT)
    small, large = draft(pairs), draft(pairs, held_bytes)
    assert (large.dataset_id, large.train, large.eval) == (
        small.dataset_id,
        small.train,
        small.eval,
    )
    is_held = sum(len(line_of(example(pair))) for pair in pairs) <= held_bytes
    assert large.files == (small.files if is_held else None)


def test_the_rows_of_a_large_dataset_can_be_written_as_they_come() -> None:
    pairs = many(300)
    files = {"train": b"", "eval": b""}
    for pair in pairs:
        files[part_of(position(example(pair)))] += line_of(example(pair)) + b"\n"
    assert files == draft(pairs).files
    assert draft(pairs, 0).dataset_id == dataset_digest(files["train"], files["eval"])


def test_a_large_dataset_of_which_too_little_is_held_out_is_refused() -> None:
    pairs = [pair for pair in many(300) if not is_held_out(position(example(pair)))]
    assert draft(pairs).eval == MIN_HELD_OUT
    with pytest.raises(RejectedUpload, match="held out"):
        draft(pairs, held_bytes=0)


# -- canonical rows --------------------------------------------------------------------------------


@given(PAIRS)
def test_each_line_is_the_json_of_one_pair(pairs: list[Pair]) -> None:
    assert [json.loads(line_of(example(pair))) for pair in pairs] == [
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
    [line] = line_of(example((f"a{separator}b", "c"))).splitlines()
    assert json.loads(line)["messages"][0]["content"] == f"a{separator}b"


def test_the_same_pairs_give_the_same_bytes() -> None:
    assert (
        line_of(example(("Grüße", "🦉 /")))
        == (
            '{"messages":[{"role":"user","content":"Grüße"},{"role":"assistant","content":"🦉 /"}]}'
        ).encode()
    )


def test_no_pairs_give_two_empty_files() -> None:
    made = draft([])
    assert made.files == {"train": b"", "eval": b""}


# -- the dataset's id ------------------------------------------------------------------------------


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(1, 20))
def test_a_row_that_moves_to_the_other_file_makes_another_dataset(
    train: bytes, eval_: bytes, moved: int
) -> None:
    train += b"x"
    cut = max(0, len(train) - moved)
    assert dataset_digest(train, eval_) != dataset_digest(train[:cut], train[cut:] + eval_)


def test_the_digest_is_of_both_files_digests_and_never_changes_between_releases() -> None:
    files = "".join(hashlib.sha256(rows).hexdigest() + "\n" for rows in (b"a\n", b"b\n"))
    assert dataset_digest(b"a\n", b"b\n") == hashlib.sha256(files.encode()).hexdigest()
    assert dataset_digest(b"a\n", b"b\n") == (
        "7b77b1b66500ed66bdb3e5f10e78f55ab6d4b404fa676ec1bee2ab5b31346a80"
    )


def test_the_id_of_a_dataset_never_changes_between_releases() -> None:
    """Another id is another dataset, and another bill, for the same upload."""
    assert draft(many(12)).dataset_id == (
        "e96a7b75e522ac400f3cde895abe933a91e5ed2c02499680934d8eb223306f13"
    )
