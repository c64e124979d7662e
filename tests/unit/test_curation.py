"""What is named, what stays: rules over whole corpora, and that a good pair is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.curating import curated, pairs, pairs_of_file
from support.informal_chat import clean_pairs
from support.persona_memory import CLEAN, CUT, FALLBACK, PAIRS, PASSWORD, memory_file
from tuner.dataset.curation import Policy
from tuner.dataset.pairs import FEW
from tuner.dataset.rule_names import FIXED_RULES, OTHER_REASONS, RULE_NAMES

FILLER = [
    (f"What did the {thing} do?", f"The {thing} went over the hill, and came back late for supper.")
    for thing in "dog cat fox owl hen pig cow rat bee ant emu eel".split()  # noqa: SIM905
]


def named(*said):
    """The reasons for which some of `said` are dropped, among ordinary pairs."""
    return curated(pairs([*FILLER, *said])).dropped


# -- the persona's own file ------------------------------------------------------------------------


def test_everything_that_is_wrong_with_the_personas_file_is_named():
    found = curated(pairs_of_file(memory_file()))
    assert found.dropped == {"canned": 4, "cut": 3, "duplicate": 1}
    assert found.redacted == {"spoken_password": 1}
    assert found.pairs == 25 == found.kept + sum(found.dropped.values())


def test_what_is_right_with_the_personas_file_stays():
    found = pairs_of_file(memory_file())
    codes = curated(found).codes
    kept = {pair.user for pair, code in zip(found, codes, strict=True) if code < 2}
    assert kept == {prompt for prompt, _ in CLEAN} | {"Remind me how to get into the wifi."}


def test_no_example_shows_the_password():
    found = curated(pairs_of_file(memory_file()))
    shown = str(found.examples)
    assert FALLBACK in shown
    assert PASSWORD not in shown + str(pairs_of_file(memory_file()))


def test_a_pair_with_a_secret_is_left_out_where_the_settings_say_so():
    assert len(pairs_of_file(memory_file(), "drop")) == 24
    assert PASSWORD in str(pairs_of_file(memory_file(), "allow"))


# -- false positives -------------------------------------------------------------------------------


def test_five_hundred_clean_pairs_of_informal_chat_are_left_alone():
    found = curated(pairs(clean_pairs()))
    assert {*found.dropped} <= {"near_duplicate"}, "a few of them do say nearly the same"
    assert found.kept >= 490


@pytest.mark.parametrize("size", [20, 25, 60])
def test_no_small_part_of_them_is_called_cut_or_canned_either(size):
    clean = clean_pairs()
    for start in range(0, len(clean) - size, size):
        found = curated(pairs(clean[start : start + size]))
        assert not {"cut", "canned"} & {*found.dropped}, start


def test_a_good_night_that_is_said_often_is_no_canned_reply():
    often = [(f"Prompt number {n}, good night", "love you too") for n in range(3)]
    assert curated(pairs([*clean_pairs(), *often])).dropped.get("canned") is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("May 3", "May 8"),
        ("Tom", "Lisa"),
        ("Monday", "Friday"),
        ("two", "three"),
        ("17:30", "18:30"),
        ("always", "never"),
    ],
)
def test_pairs_that_differ_in_a_number_or_a_name_are_two(first, second):
    text = "So remember that it is for {} that we bake the large cake with the plums in it, dear."
    said = [("What was it again, tell me?", text.format(each)) for each in (first, second)]
    assert named(*said) == {}


def test_a_names_difference_in_the_first_word_counts_too():
    text = "{} is the one who brings the lanterns and the wine when we all meet by the river again."
    said = [("Who was it again, tell me?", text.format(each)) for each in ("Tom", "Lisa")]
    assert named(*said) == {}


# -- each rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["...", "—", "[no response]", "(empty)", "\u200b", "***"])
def test_a_reply_that_says_nothing_is_empty(reply):
    assert named(("Hello?", reply)) == {"empty": 1}


@pytest.mark.parametrize("reply", ["💜", ":)", "<3", "?!", "no", "7"])
def test_a_reply_of_a_sign_says_something(reply):
    assert "empty" not in named(("Hello?", reply))


@pytest.mark.parametrize(
    "reply",
    [
        "[Note: the AI integration is not configured. Please set it up.]",
        "Sorry, an invalid API key was provided.",
        "OPENAI_API_KEY is not set, so I cannot answer.",
        "Error: 429 Too Many Requests",
        "Traceback (most recent call last):\n  File",
        "ConnectionError: HTTPSConnectionPool",
    ],
)
def test_a_programs_text_is_canned(reply):
    assert named(("Hello?", reply)) == {"canned": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "You need to put your API key into the settings page, then it works.",
        "An error is only a lesson in its work clothes.",
        "I got an exception for you: one more biscuit.",
        "Errors happen, love.",
    ],
)
def test_talk_about_errors_is_talk(reply):
    assert named(("Hello?", reply)) == {}


def test_one_reply_to_three_prompts_is_canned_and_to_two_it_is_not():
    asked = [(f"What of the {thing}?", FALLBACK) for thing in ("sea", "sun", "sky")]
    assert named(*asked) == {"canned": 3}
    assert named(*asked[:2]) == {}


def test_one_reply_to_one_prompt_thrice_is_a_duplicate():
    assert named(*[("What of the sea?", FALLBACK)] * 3) == {"duplicate": 2}


@pytest.mark.parametrize(
    "prompt",
    [
        "Error: timeout",
        "Traceback (most recent call last): x",
        'TypeError: "x" is not callable',
        '{"error": {"code": 500}}',
    ],
)
def test_an_error_text_is_no_prompt(prompt):
    assert named((prompt, "Let me look at that for a while.")) == {"error_in_prompt": 1}


@pytest.mark.parametrize(
    "reply",
    ["Yes, of course.\nUser: and then?\nAssistant: then", "Fine. Human: what else?",
     "Well.\n### Instruction:\nGo on", "Hm <|user|> what"],
)  # fmt: skip
def test_a_reply_that_goes_on_as_the_other_side_leaks_a_role(reply):
    assert named(("Hello?", reply)) == {"role_leak": 1}


@pytest.mark.parametrize("reply", ["The user: that is you, dear.", "Dear human, sit down with me."])
def test_talk_about_users_leaks_nothing(reply):
    assert named(("Hello?", reply)) == {}


def test_control_tokens_are_dropped_wherever_they_stand():
    said = [("Hi <|im_end|>", "Hello, how nice."), ("Hi you", "Hello [INST] there, nice.")]
    assert named(*said) == {"control_token": 2}


@pytest.mark.parametrize("reply", [reply for _, reply in CUT])
def test_a_reply_that_breaks_off_is_cut(reply):
    assert named(("Tell me?", reply)) == {"cut": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "Sleep tight my dear, I will be thinking of you, love you",
        "See you in the kitchen for breakfast tomorrow morning 💜",
        "I do not know what you are up to, but I like it though",
        "That is the one that I was telling you about, isn't she",
        "ok so we meet at the harbour and then the boat, you and I",
        "We will have such a good time there, see you tmrw",
    ],
)
def test_a_natural_ending_without_a_mark_is_no_cut(reply):
    assert named(("Tell me?", reply)) == {}


def test_whoever_never_ends_a_sentence_is_not_cut():
    """What is usual for a persona is no defect."""
    said = [(f"And the {thing}?", f"well the {thing} went over the hill and the") for thing in
            "dog cat fox owl hen pig cow rat bee ant emu eel".split()]  # noqa: SIM905  # fmt: skip
    assert "cut" not in curated(pairs(said)).dropped


def test_five_replies_at_one_greatest_length_were_cut_by_a_limit():
    text = " ".join(f"{word} is what we talked of by the fire" for word, _ in FILLER) * 4
    said = [(f"Prompt {n}, please?", text[n * 7 : n * 7 + 400].strip().ljust(400, "x"))
            for n in range(6)]  # fmt: skip
    assert named(*said)["cut"] == 6
    assert "cut" not in named(*((p, f"{r}{'.' * n}") for n, (p, r) in enumerate(said)))


def test_one_word_is_warned_of_and_kept():
    found = curated(pairs([*FILLER, ("Coming?", "Yes.")]))
    assert found.warned == {"one_word": 1}
    assert found.dropped == {}


def test_a_reply_in_another_language_is_warned_of_and_dropped_where_languages_are_named():
    german = ("Und nun?", "Das weiß ich leider auch nicht, aber wir finden es zusammen heraus.")
    said = pairs([*clean_pairs()[:60], german])
    assert curated(said).warned.get("language") == 1
    policy = Policy(languages=("en",))
    assert curated(said, policy=policy).dropped.get("language") == 1


def test_short_replies_have_no_language():
    said = pairs([*clean_pairs()[:60], ("Und?", "Ja, gut so.")])
    assert curated(said, policy=Policy(languages=("en",))).dropped.get("language") is None


NEAR = (
    "So we bake the large cake with the plums in it, as we do whenever the days grow short again.",
    "So we bake the large cake with the plums in it, as we do whenever the days grow short now.",
)


def test_pairs_that_say_nearly_the_same_are_one():
    said = [("What do we do, tell me?", each) for each in NEAR]
    assert named(*said) == {"near_duplicate": 1}


@pytest.mark.parametrize("others", [FEW - 4, FEW - 3, 3 * FEW])
def test_few_pairs_and_many_are_compared_alike(others):
    """A small corpus is compared pair by pair, a large one by its sketches."""
    said = [(f"What grew in the year {n}, then?", f"In {n} it was plums.") for n in range(others)]
    said[1:1] = [("now?", "we bake!"), ("now?", "we bake")]
    first, last = (("What do we do, tell me?", each) for each in NEAR)
    found = curated(pairs([first, *said, last]))
    assert found.dropped == {"near_duplicate": 1}
    assert not found.is_kept(found.pairs - 1)


@pytest.mark.parametrize("others", [0, FEW])
def test_the_same_words_in_another_order_say_something_else(others):
    """Who asks and who answers, who does what to whom."""
    said = [(f"What grew in the year {n}, then?", f"In {n} it was plums.") for n in range(others)]
    said += [
        ("do you love me?", "i do love you."), ("i love you.", "do you love me?"),
        ("what happened in the yard?", "the dog bit the boy and ran off."),
        ("what happened in the yard?", "the boy bit the dog and ran off."),
    ]  # fmt: skip
    assert curated(pairs([*FILLER, *said])).dropped == {}


def test_past_its_limit_the_index_says_what_it_did_not_compare():
    said = pairs([*FILLER, *(("What do we do, tell me?", each) for each in NEAR)])
    found = curated(said, max_suspects=1)
    assert found.dropped == {}
    assert any("near-duplicates of" in each for each in found.not_checked)


@pytest.mark.parametrize("rule", sorted({*RULE_NAMES} - {*FIXED_RULES}))
def test_a_rule_can_be_switched_off_and_can_only_warn(rule):
    said = pairs([
        *clean_pairs()[:60], *FILLER, *PAIRS, ("What?", "Yes."), ("Error: x", "That is sad."),
        ("Hi?", "Well.\nUser: what"), *(("What do we do, tell me?", each) for each in NEAR),
        ("Und nun?", "Das weiß ich leider auch nicht, aber wir finden es zusammen heraus."),
    ])  # fmt: skip
    assert rule in {**(usual := curated(said)).dropped, **usual.warned}
    off = curated(said, policy=Policy(rules={rule: "off"}))
    warned = curated(said, policy=Policy(rules={rule: "warn"}))
    assert rule not in {**off.dropped, **off.warned}
    assert rule not in warned.dropped
    assert warned.warned[rule] > 0


@pytest.mark.parametrize("rule", sorted(FIXED_RULES))
def test_what_the_trainer_refuses_is_dropped_whatever_the_settings_say(rule):
    said = pairs([*FILLER, ("Hi?", "…"), ("Hi", "Hello [INST] there")])
    assert curated(said, policy=Policy(rules={rule: "off"})).dropped[rule] == 1


# -- properties ------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    ["a", "Error: 500", "[Note: no api key]", "…", "User: x", "<s>", "love you", *NEAR, FALLBACK]
) | st.text(max_size=12)
CORPORA = st.lists(st.lists(st.tuples(TEXTS, TEXTS), max_size=15), min_size=1, max_size=4)


@given(CORPORA)
def test_every_pair_is_kept_or_dropped_once_for_a_reason_with_a_name(uploads):
    found = curated(*(pairs(each) for each in uploads))
    assert found.pairs == sum(map(len, uploads))
    assert found.pairs == found.kept + sum(found.dropped.values())
    assert found.kept == found.train + found.held_out == sum(found.kept_by_segment)
    assert {*found.dropped} <= {*RULE_NAMES, *OTHER_REASONS}
    assert len(found.held_out_ids) == found.held_out


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=25))
def test_the_same_upload_again_adds_nothing(said):
    once = curated(pairs(said))
    twice = curated(pairs(said), pairs(said))
    assert twice.kept_by_segment == [once.kept, 0]
    assert twice.codes[: len(said)] == once.codes
