"""A persona's settings: every problem with its line, edits that keep the rest of the file."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.settings_editing import edited, value_typed
from tuner.dataset.rule_names import FIXED_RULES, RULE_NAMES
from tuner.persona_settings import (
    NAMES,
    SETTINGS,
    PersonaSettings,
    default_of,
    problem_of,
    problems,
    quoted,
    settings_of,
    value_of,
)
from tuner.settings_file import Problem, key_lines, parse, text_of

RULES = [name for name in RULE_NAMES if name not in FIXED_RULES]

FULL = """\
# what grandma sounds like
schema_version = 1
speaker = "Grandma"  # as the chat names her
format = "whatsapp"
system_prompt = \"""
You are Grandma.
spaeker = "not a key"
\"""
base_model = "smollm2-135m"
lanes = ["vertex-t4", "vertex-t4-spot"]
move_on_after_hours = 12
max_wait_hours = 72
budget_usd = 5
contact = "ops@example.org"
train_when = 25
languages = [
  "en",  # = mostly
  "de",
]
secrets = "drop"
names = "redact"
over_long = "refuse"
examples = "pairs"

[hyperparameters]
learning_rate = 2e-4
epochs = 3
effective_batch = 16
seed = 7

[rules]
language = "drop"
'one_word' = "off"
"""


def lines_of(text: str) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.sentence) for problem in problems(text)]


def test_an_empty_file_is_the_defaults() -> None:
    assert problems("") == []
    assert settings_of("") == PersonaSettings()


def test_every_setting_can_be_set() -> None:
    assert problems(FULL) == []
    settings = settings_of(FULL)
    assert settings.speaker == "Grandma"
    assert settings.system_prompt == 'You are Grandma.\nspaeker = "not a key"\n'
    assert settings.hyperparameters.epochs == 3
    assert settings.train_when == 25
    assert settings.languages == ("en", "de")
    assert settings.rules == {"language": "drop", "one_word": "off"}
    unchanged = [n for n in SETTINGS if value_of(settings, n) == value_of(PersonaSettings(), n)]
    assert unchanged == ["schema_version"]


def test_all_problems_are_named_at_once_each_with_its_line() -> None:
    text = FULL.replace("epochs = 3", "epochs = 0").replace('"drop"\n\'one', '"dorp"\n\'one')
    text = text.replace('"pairs"', '"pair"').replace("budget_usd = 5", "budget_usd = nan")
    text = text.replace("contact =", "contcat =").replace('"en",', '"EN",')
    found = problems(text)
    rows = text.split("\n")
    for name, problem in zip(
        ("budget_usd", "contcat", "languages", "examples", "epochs", "language"), found, strict=True
    ):
        assert problem.line is not None
        assert rows[problem.line - 1].startswith(name)
        assert name in problem.sentence


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\nspaeker = 'x'", 2, "did you mean speaker?"),
        ("epochs = 3", 1, "did you mean hyperparameters.epochs?"),
        ("[hyperparameters]\n\nepoch = 3", 3, "did you mean hyperparameters.epochs?"),
        ("zzz = 1", 1, "docs/operate.md"),
        ('"hyperparameters.epochs" = 3', 1, '"hyperparameters.epochs" is no setting'),
        ("speaker = 7", 1, "text of 1 to 200 characters; it is 7"),
        ("speaker = ''", 1, 'it is ""'),
        ("speaker = '  '", 1, "speaker"),
        (f"system_prompt = '{'x' * 8001}'", 1, "it is text of 8,001 characters"),
        ("format = 'whatsap'", 1, 'did you mean "whatsapp"?'),
        ("base_model = 'mistral'", 1, 'did you mean "mistral-7b"?'),
        ("train_when = 0", 1, "it is 0"),
        ("train_when = true", 1, "it is true"),
        ("train_when = 'every drop'", 1, 'did you mean "every-drop"?'),
        ("budget_usd = 1001", 1, "to 1,000"),
        ("budget_usd = 1979-05-27", 1, "a date or a time"),
        ("lanes = 'vertex-t4'", 1, 'a list of "vertex-t4"'),
        ("languages = ['en\\n']", 1, "languages"),
        ("hyperparameters = 3", 1, "hyperparameters is a table"),
        ("[[rules]]", 1, "rules is a table"),
        ("[rules]\nlangage = 'drop'", 2, "no rule; did you mean rules.language?"),
        ("rules = { empty = 'warn' }", 1, "rules.empty cannot be set"),
        ("rules.control_token = 'drop'", 1, "the trainer refuses such rows"),
        ("schema_version = 2", 1, "a newer one wrote this file"),
        ("schema_version = true", 1, "schema_version must be 1"),
        ("speaker =\n", 1, "not TOML"),
        ("speaker = 'x'\nspeaker = 'y'\n", 2, "not TOML"),
        ("speaker = 'x\n", 1, "not TOML"),
        ("x = " + "[" * 5000 + "]" * 5000, None, "nested too deeply"),
        ("epochs = " + "9" * 5000, None, "not TOML"),
        ("[hyperparameters]\nepochs = 0x" + "f" * 5000, 2, "beyond all bounds"),
        ("[hyperparameters]\nlearning_rate = 0x" + "f" * 5000, 2, "beyond all bounds"),
    ],
)
def test_a_problem_says_where_it_is_and_what_would_be_right(
    text: str, line: int | None, words: str
) -> None:
    [problem] = problems(text)
    assert problem.line == line
    assert words in problem.sentence
    assert "\n" not in problem.sentence


def test_a_newer_file_is_not_judged_by_rules_that_it_does_not_follow() -> None:
    assert len(problems("schema_version = 2\nbrand_new = 1\n")) == 1


def test_a_file_that_is_no_text_names_its_line() -> None:
    problem = text_of(b"speaker = 'x'\n# caf\xe9\n")
    assert isinstance(problem, Problem)
    assert problem.line == 2
    assert text_of(b"\xef\xbb\xbfspeaker = 'x'") == "speaker = 'x'"


def test_a_prompt_is_never_repeated_in_a_problem() -> None:
    [problem] = problems(f"system_prompt = ['{'my secret ' * 7}']")
    assert "my secret" not in problem.sentence


def test_what_a_terminal_would_act_on_is_shown_escaped() -> None:
    [problem] = problems('"a\\u009b31m\\u202e" = 1')
    assert problem.sentence.startswith('"a\\U0000009b31m\\U0000202e" is no setting')


# -- lines -----------------------------------------------------------------------------------------

strange = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
comments = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(
    lambda text: f"  # {text} = [\"'"
)


@st.composite
def written_keys(draw: st.DrawFn, name: str) -> str:
    ways = [quoted(name)]
    if "'" not in name and name.isprintable():
        ways.append(f"'{name}'")
    if name.isascii() and name.isalnum():
        ways.append(name)
    return draw(st.sampled_from(ways))


written_values = st.one_of(
    st.sampled_from(
        [
            "1.5", "true", "1979-05-27 07:32:00Z", "-inf", "'# no = comment'", '"[x] = 1"', "[]",
            "[\n  1, # ]\n  [2, 3],\n]", '"""\na = 1\n[b]\n\\""" c = 2"""""', "'''\n'x' = 1\n'''''",
            "[{x = 1, y = {z = 2}}, {x = 3}]", '"\\\\"', "''", '""',
        ]
    ),
    strange.map(quoted),
)  # fmt: skip


@given(st.data())
def test_every_key_is_found_on_its_line(data: st.DataObject) -> None:
    """Documents of tables, dotted keys and inline tables, with hostile values and comments."""
    expected: dict[tuple[str, ...], int] = {}
    rows: list[str] = []
    names = data.draw(st.lists(strange, min_size=1, max_size=6, unique=True))

    def key_of(*path: str) -> str:
        dot = data.draw(st.sampled_from([".", " . "]))
        return dot.join(data.draw(written_keys(part)) for part in path)

    def line() -> int:
        return sum(row.count("\n") + 1 for row in rows) + 1

    for name in names:
        below = data.draw(st.lists(strange, min_size=1, max_size=3, unique=True))
        expected[(name,)] = line()
        end = data.draw(st.one_of(st.just(""), comments))
        match data.draw(st.sampled_from(["dotted", "inline", "table", "array"])):
            case "dotted":
                # Below a table of its own, so that headers before it do not matter.
                rows.append(f"[{key_of(name)}]{end}")
                for part in below:
                    expected[(name, part)] = expected[(name, part, "x")] = line()
                    rows.append(f"{key_of(part, 'x')} = {data.draw(written_values)}{end}")
            case "inline":
                rows.append(f"[{key_of(name)}]{end}")
                expected[(name, "it")] = line()
                for part in below:
                    expected[(name, "it", part)] = line()
                pairs = [f"{key_of(part)} = {quoted(part)}" for part in below]
                rows.append(f"it = {{ {', '.join(pairs)} }}{end}")
            case "table":
                rows.append(f"  [ {key_of(name)} ]{end}")
                for part in below:
                    expected[(name, part)] = line()
                    rows.append(f"\t{key_of(part)}={data.draw(written_values)}{end}")
            case "array":
                rows.append(f"[[{key_of(name)}]]{end}")
                expected[(name, "x")] = line()
                rows.append("x = 1")
    text = data.draw(st.sampled_from(["\n", "\r\n"])).join(rows)
    tomllib.loads(text)
    found = key_lines(text)
    assert {path: found.get(path) for path in expected} == expected


@given(st.one_of(strange, st.text(st.sampled_from("ab=[]{}.,'\"\\#\n 1"), max_size=40)))
def test_no_text_at_all_makes_the_check_fail(text: str) -> None:
    for problem in problems(text):
        assert problem.sentence
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + 1


@given(st.binary(max_size=40))
def test_no_bytes_at_all_make_the_check_fail(raw: bytes) -> None:
    text = text_of(raw)
    assert isinstance(text, Problem) or isinstance(problems(text), list)


def test_every_table_and_key_of_a_file_is_found() -> None:
    rows = FULL.split("\n")
    found = key_lines(FULL)
    for path, line in found.items():
        assert path[-1] in rows[line - 1]
    assert {".".join(path) for path in found} >= set(SETTINGS)


# -- editing ---------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "schema_version": st.just(1),
    "speaker": texts,
    "format": st.sampled_from(SETTINGS["format"].choices),
    "system_prompt": texts,
    "base_model": st.sampled_from(SETTINGS["base_model"].choices),
    "hyperparameters.learning_rate": st.floats(0, 0.1, exclude_min=True),
    "hyperparameters.epochs": st.integers(1, 50),
    "hyperparameters.effective_batch": st.integers(1, 512),
    "hyperparameters.seed": st.integers(0, 2**31 - 1),
    "lanes": st.lists(st.sampled_from(SETTINGS["lanes"].choices), max_size=8),
    "move_on_after_hours": st.integers(0, 720),
    "max_wait_hours": st.integers(1, 720),
    "budget_usd": st.one_of(st.floats(0, 1000, exclude_min=True), st.integers(1, 1000)),
    "contact": texts,
    "train_when": st.one_of(st.sampled_from(["every-drop", "by-hand"]), st.integers(1, 1_000_000)),
    "languages": st.lists(st.from_regex(r"[a-z]{2,3}", fullmatch=True), max_size=3),
    "secrets": st.sampled_from(SETTINGS["secrets"].choices),
    "names": st.sampled_from(SETTINGS["names"].choices),
    "over_long": st.sampled_from(SETTINGS["over_long"].choices),
    "examples": st.sampled_from(SETTINGS["examples"].choices),
    **{f"rules.{rule}": st.sampled_from(["drop", "warn", "off"]) for rule in RULES},
}
assignments = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name])),
    max_size=12,
)
START = [
    "",
    FULL,
    "# only a remark",
    "hyperparameters = { epochs = 2 }\nrules = {}\n",
    "hyperparameters.epochs = 2\r\nrules.language = 'warn'\r\n",
    "[rules]\n\n[hyperparameters]\nseed = 1 # last line without an end",
    "[hyperparameters]\n\n# about rules\n[rules]\ncut = 'off'\n",
]


@given(st.sampled_from(START), assignments)
def test_what_is_set_is_what_is_read_and_what_was_there_stays(
    text: str, changes: list[tuple[str, Any]]
) -> None:
    expected = {name: value_of(settings_of(text), name) for name in NAMES}
    remarks = [row.partition("# ")[2] for row in text.splitlines() if "# " in row]
    for name, value in changes:
        changed = edited(text, tuple(name.split(".")), value)
        assert changed is not None
        text = changed
        expected[name] = value
    assert problems(text) == []
    settings = settings_of(text)
    for name in NAMES:
        read, wanted = value_of(settings, name), expected[name]
        assert read == (tuple(wanted) if isinstance(wanted, list) else wanted)
    # What stands inside of a list goes with the list.
    assert all(remark in text for remark in remarks if remark != "= mostly")


@given(st.sampled_from(START), st.lists(st.sampled_from(sorted(VALUES)), max_size=8))
def test_what_is_taken_back_is_the_default_again(text: str, names: list[str]) -> None:
    expected = {name: value_of(settings_of(text), name) for name in NAMES}
    for name in names:
        changed = edited(text, tuple(name.split(".")), None)
        if changed is not None:  # it was set
            text = changed
        expected[name] = value_of(PersonaSettings(), name)
    assert problems(text) == []
    assert {name: value_of(settings_of(text), name) for name in NAMES} == expected


@given(st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.tuples(st.just(name), VALUES[name])
))  # fmt: skip
def test_a_value_that_is_typed_is_meant_as_the_setting_has_it(change: tuple[str, Any]) -> None:
    name, value = change
    typed = value if isinstance(value, str) else json.dumps(value)
    assert value_typed(tuple(name.split(".")), typed) == value


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("languages", "en,de", ["en", "de"]),
        ("languages", "en", ["en"]),
        ("languages", "[en, de]", ["en", "de"]),  # what a shell leaves of the quotes
        ("lanes", "vertex-t4", ["vertex-t4"]),
        ("train_when", "25", 25),
        ("train_when", "by-hand", "by-hand"),
        ("train_when", '"by-hand"', "by-hand"),
        ("speaker", "42", "42"),
        ("speaker", "true", "true"),
        ("speaker", "x'\nbudget_usd = 1000 #", "x'\nbudget_usd = 1000 #"),
        ("budget_usd", "1\nspeaker = 'x'", "1\nspeaker = 'x'"),
        ("hyperparameters.learning_rate", "2e-4", 2e-4),
    ],
)
def test_a_value_may_be_typed_the_easy_way(name: str, typed: str, meant: Any) -> None:
    assert value_typed(tuple(name.split(".")), typed) == meant


def test_a_change_leaves_every_other_line_as_it_was() -> None:
    changed = edited(FULL, ("hyperparameters", "epochs"), 4)
    assert changed == FULL.replace("epochs = 3", "epochs = 4")
    added = edited(FULL, ("rules", "cut"), "warn")
    assert added == FULL + 'cut = "warn"\n'


def test_a_prompt_of_several_lines_is_written_in_several_lines() -> None:
    changed = edited("", ("system_prompt",), "You are Grandma.\nYou bake.")
    assert changed == 'system_prompt = """\nYou are Grandma.\nYou bake."""\n'


@pytest.mark.parametrize("end", ['"', '""', '"' * 3, '"' * 6, "\\", "\n", " ", "\\u0041", "\r\n"])
def test_a_prompt_of_several_lines_may_hold_and_end_with_anything(end: str) -> None:
    prompt = f"{end}You are\n{end}\nGrandma.{end}"
    changed = edited(FULL, ("system_prompt",), prompt)
    assert changed is not None
    assert settings_of(changed).system_prompt == prompt


# -- what people are shown -------------------------------------------------------------------------


def test_every_field_is_described_and_every_description_is_a_fields() -> None:
    top = set(PersonaSettings.__struct_fields__) - {"hyperparameters", "rules"}
    below = {
        f"hyperparameters.{n}" for n in type(PersonaSettings().hyperparameters).__struct_fields__
    }
    assert set(SETTINGS) == top | below


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_shown(name: str) -> None:
    assert default_of(name)
    default = value_of(PersonaSettings(), name)
    if default not in (None, ()):
        assert default_of(name) == json.dumps(default)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_every_default_may_be_written_down(name: str) -> None:
    default = value_of(PersonaSettings(), name)
    assert (
        default is None or problem_of(tuple(name.split(".")), msgspec.to_builtins(default)) is None
    )


def test_parse_tells_a_document_from_a_problem() -> None:
    assert parse("x = 1") == {"x": 1}
