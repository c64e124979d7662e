"""`tuner config` as a person types it, against a real storage server."""

from __future__ import annotations

import json
import sys
import tomllib

import pytest

from console import config_commands
from console.connection import Connection
from console.main import main
from tuner.ledger import Ledger
from tuner.persona_settings import NAMES, PersonaSettings, read_persona_settings, settings_name

COMMENTED = """\
# decided in spring
speaker = "Grandma"  # as the chat names her

[hyperparameters]
epochs = 3  # two were too few
"""


@pytest.fixture
def tuner(world, monkeypatch, capsys):
    """Run a command; (exit code, stdout, stderr)."""
    connection = Connection("a test", world.places, world.storage)
    monkeypatch.setattr(config_commands, "connect", lambda env: connection)
    monkeypatch.setenv("COLUMNS", "40")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tuner", "config", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def blob_of(world, persona="nan"):
    return world.storage.bucket(world.places.runs_bucket_name).blob(settings_name(persona))


def store(world, text):
    blob_of(world).upload_from_string(text)


def stored(world):
    return blob_of(world).download_as_bytes().decode()


def test_a_persona_without_a_file_has_the_defaults(world, tuner):
    code, out, _ = tuner("get", "nan", "--json")
    assert code == 0
    shown = json.loads(out)
    assert list(shown) == list(NAMES)
    assert {each["from"] for each in shown.values()} == {"default"}
    code, out, _ = tuner("get", "nan")
    assert [line.split()[0] for line in out.splitlines()] == list(NAMES)
    assert not blob_of(world).exists()


def test_a_setting_is_stored_and_shown_and_read_by_the_converter(world, tuner):
    code, out, _ = tuner("set", "nan", "hyperparameters.epochs", "4")
    assert (code, out.split()) == (0, ["hyperparameters.epochs", "set", "4"])
    assert tuner("set", "nan", "rules.language", "drop")[0] == 0
    code, out, _ = tuner("set", "nan", "languages", "en,de", "--json")
    assert json.loads(out) == {"languages": {"value": ["en", "de"], "from": "set"}}
    settings = read_persona_settings(world.controller.ledger, "nan")
    assert settings.hyperparameters.epochs == 4
    assert settings.rules == {"language": "drop"}
    assert settings.languages == ("en", "de")
    code, out, _ = tuner("get", "nan", "hyperparameters", "--json")
    shown = json.loads(out)
    assert shown["hyperparameters.epochs"] == {"value": 4, "from": "set"}
    assert shown["hyperparameters.seed"] == {"value": 42, "from": "default"}
    assert len(shown) == 4


@pytest.mark.parametrize(
    "speaker", ["Ada", 'O"Neil \\ 🦉', "a\tb\x7f\n", "[red]Ada[/red]", ":owl:", "x" * 200]
)
def test_a_text_is_read_as_it_was_typed(world, tuner, speaker):
    code, out, _ = tuner("set", "nan", "speaker", speaker)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert read_persona_settings(world.controller.ledger, "nan").speaker == speaker
    assert json.loads(tuner("get", "nan", "speaker", "--json")[1])["speaker"]["value"] == speaker
    written = tuner("get", "nan", "speaker")[1].split(maxsplit=2)[2]
    assert tomllib.loads(f"speaker = {written}") == {"speaker": speaker}


def test_comments_and_order_stay(world, tuner):
    store(world, COMMENTED)
    assert tuner("set", "nan", "hyperparameters.epochs", "4")[0] == 0
    assert stored(world) == COMMENTED.replace("epochs = 3", "epochs = 4")


@pytest.mark.parametrize("how", [("speaker", ""), ("speaker", "--unset")])
def test_a_setting_is_taken_back(world, tuner, how):
    store(world, COMMENTED)
    code, out, _ = tuner("set", "nan", *how)
    assert code == 0
    assert out.split()[1] == "default"
    assert read_persona_settings(world.controller.ledger, "nan").speaker is None
    assert "epochs = 3  # two were too few" in stored(world)


def test_a_whole_table_or_a_mistyped_name_can_be_taken_back(world, tuner):
    store(world, "spaeker = 'x'\n" + COMMENTED)
    assert tuner("get", "nan")[0] == 3
    assert tuner("set", "nan", "spaeker", "--unset")[0] == 0
    assert tuner("set", "nan", "hyperparameters", "--unset")[0] == 0
    assert read_persona_settings(world.controller.ledger, "nan") == PersonaSettings(
        speaker="Grandma"
    )


def test_taking_back_what_is_not_set_writes_nothing(world, tuner):
    assert tuner("set", "nan", "speaker", "--unset")[0] == 0
    assert not blob_of(world).exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nan", "spaeker", "Ada"), "did you mean speaker?"),
        (("nan", "spaeker", "--unset"), "did you mean speaker?"),
        (("nan", "epochs", "3"), "did you mean hyperparameters.epochs?"),
        (("nan", "hyperparameters.epochs", "many"), "a whole number from 1 to 50"),
        (("nan", "format", "whatsap"), 'did you mean "whatsapp"?'),
        (("nan", "rules.control_token", "off"), "the trainer refuses such rows"),
        (("nan", "budget_usd", "1\nspeaker = 'x'"), "above 0"),
        (("nan", "speaker", "a\udcff"), "not UTF-8"),
        (("nan", "speaker"), "Say KEY and VALUE"),
        (("nan",), "Say KEY and VALUE"),
        (("nan", "speaker", "Ada", "--unset"), "Say KEY and VALUE"),
        (("Not A Name", "speaker", "Ada"), "cannot be a persona's name"),
        (("../nan", "speaker", "Ada"), "cannot be a persona's name"),
    ],
)
def test_wrong_use_is_one_sentence_and_nothing_is_written(world, tuner, words, sentence):
    code, out, err = tuner("set", *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert world.names(world.places.runs_bucket_name, "config/") == []


def test_a_file_with_other_problems_is_not_made_longer(world, tuner):
    store(world, "spaeker = 'x'\nlanes = 3\n")
    code, out, err = tuner("set", "nan", "contact", "me")
    assert (code, out) == (3, "")
    assert [line.partition(": ")[0] for line in err.splitlines()] == [
        "config/nan.toml:1",
        "config/nan.toml:2",
    ]
    assert "contact" not in stored(world)


def test_the_last_problem_of_a_file_can_be_mended_with_set(world, tuner):
    store(world, "speaker = 7\n")
    assert tuner("set", "nan", "speaker", "Ada")[0] == 0
    assert stored(world) == 'speaker = "Ada"\n'


@pytest.mark.parametrize("text", [b"speaker = ", b"# \xff"])
def test_a_file_that_is_no_toml_is_left_alone(world, tuner, text):
    store(world, text)
    code, _, err = tuner("set", "nan", "speaker", "Ada")
    assert code == 3
    assert err.startswith("config/nan.toml:1: ")
    assert blob_of(world).download_as_bytes() == text


def test_a_whole_file_is_stored_as_it_is(world, tuner, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(COMMENTED)
    code, out, _ = tuner("set", "nan", "--file", str(file))
    assert code == 0
    assert "Grandma" in out
    assert stored(world) == COMMENTED


def test_a_whole_file_with_problems_is_refused_with_all_of_them(world, tuner, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(COMMENTED + "epoch = 3\nseed = -1\n")
    code, _, err = tuner("set", "nan", "--file", str(file))
    assert code == 3
    assert [line.partition(": ")[0] for line in err.splitlines()] == [f"{file}:6", f"{file}:7"]
    assert not blob_of(world).exists()


def test_a_change_of_somebody_else_is_never_overwritten(world, tuner, monkeypatch):
    """It comes between our read and our write."""
    store(world, COMMENTED)
    read = Ledger.read_text

    def overtaken(self, name):
        found = read(self, name)
        store(world, 'speaker = "Ada"\n')
        return found

    monkeypatch.setattr(Ledger, "read_text", overtaken)
    code, _, err = tuner("set", "nan", "contact", "me")
    assert code == 1
    assert "Somebody changed config/nan.toml meanwhile" in err
    assert "try again" in err
    assert stored(world) == 'speaker = "Ada"\n'


def test_two_who_make_the_first_file_at_once_are_told_apart(world, tuner, monkeypatch):
    read = Ledger.read_text

    def overtaken(self, name):
        found = read(self, name)
        store(world, 'speaker = "Ada"\n')
        return found

    monkeypatch.setattr(Ledger, "read_text", overtaken)
    assert tuner("set", "nan", "contact", "me")[0] == 1
    assert stored(world) == 'speaker = "Ada"\n'


def test_check_names_every_problem_of_a_file_as_compilers_do(tuner, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(COMMENTED + "epoch = 3\nseed = -1\n")
    code, out, err = tuner("check", str(file))
    assert (code, err) == (3, "")
    lines = out.splitlines()
    assert lines[0] == f"{file}:6: hyperparameters.epoch is no setting; did you mean " + (
        "hyperparameters.epochs?"
    )
    assert lines[1].startswith(f"{file}:7: hyperparameters.seed must be")
    code, out, _ = tuner("check", str(file), "--json")
    assert code == 3
    assert [problem["line"] for problem in json.loads(out)["problems"]] == [6, 7]


def test_check_of_a_good_file_says_so(tuner, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(COMMENTED)
    assert tuner("check", str(file)) == (0, f"{file}: no problems.\n", "")


def test_check_reads_what_is_stored(world, tuner):
    assert tuner("check", "--persona", "nan")[0] == 0
    store(world, "speaker = 7")
    code, out, _ = tuner("check", "--persona", "nan")
    assert code == 3
    assert out.startswith("config/nan.toml:1: speaker must be text")


@pytest.mark.parametrize("words", [(), ("FILE", "--persona", "nan"), ("no-such-file",)])
def test_check_of_nothing_or_of_two_things_is_wrong_use(tuner, tmp_path, words):
    file = tmp_path / "mine.toml"
    file.touch()
    code, _, err = tuner("check", *(str(file) if word == "FILE" else word for word in words))
    assert code == 2
    assert err


def test_get_of_an_unknown_name_is_wrong_use(tuner):
    code, _, err = tuner("get", "nan", "spaeker")
    assert code == 2
    assert "did you mean speaker?" in err
