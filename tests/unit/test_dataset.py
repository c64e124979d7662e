"""From pairs to the two files of a dataset: windows, the system prompt, canonical rows, digest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.curating import built, pairs, replies_of, rows_of
from tuner.conversations.model import Turn
from tuner.conversations.sessions import Example
from tuner.dataset.build import Plan, TooFewPairs
from tuner.dataset.costs import recipe_of
from tuner.dataset.draft import Drafting
from tuner.dataset.rows import encoder
from tuner.dataset.split import MIN_HELD_OUT, MIN_PAIRS
from tuner.dataset.tokens import tokens_of
from tuner.errors import RejectedUpload
from tuner.persona_settings import PersonaSettings
from tuner.training_job import dataset_digest

THINGS = "river kettle garden window letter bread lantern harbour meadow violin"
WORDS = THINGS.split()


def said(count, start=0):
    return [
        (
            f"Question {n} about the {WORDS[n % 10]}?",
            f"Answer {n}: the {WORDS[n * 7 % 10]} stands by the {WORDS[n * 3 % 10]}.",
        )
        for n in range(start, start + count)
    ]


def test_a_session_is_a_row_and_every_reply_is_learned_once():
    sessions = [n // 5 for n in range(40)]
    dataset = built(pairs(said(40), sessions=sessions))
    held_out = replies_of(dataset, "eval")
    learned = replies_of(dataset)
    assert sorted(held_out + learned) == sorted(reply for _, reply in said(40))
    assert {len(row) for row in rows_of(dataset)} == {10}
    assert {len(row) for row in rows_of(dataset, "eval")} == {2}


def test_rows_alternate_and_end_with_the_reply():
    dataset = built(pairs(said(30), sessions=[n // 3 for n in range(30)]))
    for row in rows_of(dataset):
        assert [message["role"] for message in row] == ["user", "assistant"] * (len(row) // 2)


def test_pairs_on_request_are_a_row_each():
    sessions = [n // 5 for n in range(40)]
    settings = PersonaSettings(examples="pairs")
    dataset = built(pairs(said(40), sessions=sessions), settings=settings)
    assert {len(row) for row in rows_of(dataset)} == {2}


def test_a_long_session_is_cut_into_windows_that_the_base_model_can_take():
    long = [(question, f"{answer} {'word ' * 300}.") for question, answer in said(40)]
    sessions = [n // 20 for n in range(40)]
    dataset = built(pairs(long, sessions=sessions))
    tokens, limit = tokens_of("mistral-7b"), recipe_of("mistral-7b").max_length_tokens
    sizes = [sum(tokens.count(m["content"]) for m in row) for row in rows_of(dataset)]
    assert max(sizes) <= limit
    assert max(sizes) > limit // 2, "windows are filled"
    assert dataset.totals.longest_tokens <= limit


def test_a_held_out_pair_stands_in_no_training_row():
    """One long history: the pair is the unit, and a window ends where one is held out."""
    dataset = built(pairs(said(60)))
    held_out = {m["content"] for row in rows_of(dataset, "eval") for m in row}
    learned = {m["content"] for row in rows_of(dataset) for m in row}
    assert len(rows_of(dataset, "eval")) >= MIN_HELD_OUT
    assert not held_out & learned


def test_the_system_prompt_goes_into_about_half_of_the_rows_and_the_same_ones_each_time():
    settings = PersonaSettings(system_prompt="You are Grandma.", examples="pairs")
    first, second = (built(pairs(said(200)), settings=settings) for _ in range(2))
    assert first.draft.dataset_id == second.draft.dataset_id
    with_prompt = [row for row in rows_of(first) if row[0]["role"] == "system"]
    assert 0.35 < len(with_prompt) / len(rows_of(first)) < 0.65
    assert {row[0]["content"] for row in with_prompt} == {"You are Grandma."}
    assert built(pairs(said(200))).draft.dataset_id != first.draft.dataset_id


def test_an_exports_own_system_prompt_stands_over_the_settings():
    found = pairs(said(20))
    for pair in found:
        pair.system = "From the export."
    dataset = built(found, settings=PersonaSettings(system_prompt="You are Grandma."))
    assert {row[0]["content"] for row in rows_of(dataset)} == {"From the export."}


def over_long():
    return [
        *said(20),
        ("Begin. " + "and on it went, " * 2000 + "The end?", "Yes, at last it ended."),
    ]


def test_an_over_long_prompt_is_cut_at_its_beginning_and_told_of():
    dataset = built(pairs(over_long()))
    assert dataset.curated.warned == {"shortened": 1}
    [row] = [
        row
        for part in ("train", "eval")
        for row in rows_of(dataset, part)
        if row[-1]["content"] == "Yes, at last it ended." or "Yes, at last it ended." in str(row)
    ]
    [prompt] = [m["content"] for m in row if m["content"].endswith("The end?")]
    assert prompt.startswith("… ")
    assert dataset.totals.longest_tokens <= recipe_of("mistral-7b").max_length_tokens


def test_an_over_long_pair_is_dropped_where_the_settings_say_so():
    dataset = built(pairs(over_long()), settings=PersonaSettings(over_long="drop"))
    assert dataset.curated.dropped == {"over_long": 1}


def test_an_over_long_pair_refuses_the_upload_where_the_settings_say_so():
    with pytest.raises(RejectedUpload, match="longer than the base model"):
        built(pairs(over_long()), settings=PersonaSettings(over_long="refuse"))


def test_an_over_long_reply_is_dropped_and_never_cut():
    long = [*said(20), ("Tell me all.", "and on it went, " * 2000 + "the end.")]
    dataset = built(pairs(long))
    assert dataset.curated.dropped == {"over_long": 1}


@pytest.mark.parametrize("count", [0, 1, MIN_PAIRS - 1])
def test_too_few_pairs_are_refused_with_their_number(count):
    with pytest.raises(TooFewPairs, match=f"Only {count} usable pairs"):
        built(pairs(said(count)))


def test_the_receipts_sums_hold():
    dataset = built(pairs([*said(20), *said(3)]))
    curated = dataset.curated
    assert curated.pairs == 23
    assert curated.pairs == curated.kept + sum(curated.dropped.values())
    assert curated.kept == curated.train + curated.held_out


def test_a_trainings_cost_is_a_range_with_the_date_of_its_prices():
    [cost] = built(pairs(said(100))).estimates
    assert cost.lane == "vertex-t4"
    assert 0 < cost.usd[0] < cost.usd[1]
    assert cost.minutes[0] < cost.minutes[1]
    assert cost.prices_as_of


def test_the_steps_are_those_of_the_trainer():
    plan = Plan(settings=PersonaSettings(), preset="mistral-7b")
    assert plan.epochs == 3


# -- canonical rows --------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=30))
def test_a_dataset_is_the_same_held_or_only_hashed(texts):
    drafts = []
    for held_bytes in (0, 1 << 30):
        drafting, encode = Drafting(held_bytes), encoder("messages")
        for prompt, reply in texts:
            drafting.add("train", encode(Example([Turn("user", prompt), Turn("assistant", reply)])))
        drafting.add("eval", b"{}")
        drafts.append(drafting.finish())
    hashed, held = drafts
    assert hashed.dataset_id == held.dataset_id
    assert (hashed.train, hashed.eval) == (held.train, held.eval) == (len(texts), 1)
    assert held.files is not None
    assert dataset_digest(held.files["train"], held.files["eval"]) == held.dataset_id


def test_the_rows_are_canonical_json_in_utf_8():
    line = encoder("messages")(Example([Turn("user", "größer 🦉"), Turn("assistant", '\n"')]))
    assert line == json.dumps(
        {"messages": [{"role": "user", "content": "größer 🦉"},
                      {"role": "assistant", "content": "\n\""}]},
        ensure_ascii=False, separators=(",", ":"),
    ).encode()  # fmt: skip
