"""Conversation files for the benchmarks, made from a seed: the same bytes wherever they are made.

Run as a program it makes files where they are missing: `python -m bench.corpus sharegpt 100`
(megabytes). Texts are sentences of made-up words, picked as often as words of a language are, so
that they compress and repeat about as real ones do. Each file looks as its usual writer leaves it:

sharegpt  one line of JSON with UTF-8 as it is; 2 to 10 turns
chatgpt   one line of JSON with `\\uXXXX` escapes; hidden system messages, regenerated replies, tool
          calls, and metadata that outweighs the text
pairs     JSON indented by 2 with `\\uXXXX` escapes; one prompt and one reply a row

In all of them 3% of the dialogues repeat an earlier one word for word.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import sys
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random

MEGABYTE = 1_000_000
SEED = 1729
DUPLICATE_SHARE = 0.03

#: Of the files of 100 MB, whose making is checked with it.
SHA256_OF_100_MB = {
    "sharegpt": "91a1f1c35733ba1d7a4cccec44eb474e5b16e6bbb9274e8e2f150528055a98ce",
    "chatgpt": "370e578635519da68b53b46f04e0724bec8ad7490c490cfdad040ebd9445bd3f",
    "pairs": "45fd41042a5c409f2810ab5a8455235e8f59218fa321e3273e6558e00e74d687",
}

#: Characters of one sentence, at least and at most; what a text may come to follows from them.
_SENTENCE_CHARACTERS = (25, 120)
_SENTENCES = 20_000

#: Dialogues that may still be repeated.
_REMEMBERED = 2_000

_WRITE_BYTES = 1024 * 1024

Dialogue = list[bytes]
"""Texts of user and assistant in turn, escaped as they stand between the quotes of a JSON file."""


@dataclass(frozen=True)
class Made:
    """What a corpus file holds; stands beside it as JSON."""

    kind: str
    bytes: int
    sha256: str
    dialogues: int
    duplicates: int
    schema_version: int = 1


class WrongCorpus(Exception):
    """This machine made other bytes from the seed than those that the figures speak of."""


def corpus(kind: str, size_bytes: int, folder: Path) -> tuple[Path, Made]:
    """The file of a kind that is just larger than `size_bytes`, made when it is missing.

    Raises WrongCorpus when a file of 100 MB is not the one whose hash is known.
    """
    path = folder / f"{kind}-{size_bytes // MEGABYTE}mb.json"
    about = path.with_suffix(".made.json")
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    if path.exists() and about.exists():
        noted = json.loads(about.read_bytes())
        if noted.pop("recipe") == recipe:
            return path, Made(**noted)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    made = make(kind, size_bytes, unfinished)
    if size_bytes == 100 * MEGABYTE and made.sha256 != SHA256_OF_100_MB[kind]:
        raise WrongCorpus(f"{kind}: SHA-256 {made.sha256}, not {SHA256_OF_100_MB[kind]}")
    unfinished.rename(path)
    about.write_text(json.dumps({**asdict(made), "recipe": recipe}) + "\n")
    return path, made


def gzipped(path: Path) -> Path:
    """A file as gzip would pack it, made when it is missing or older."""
    packed = path.with_suffix(f"{path.suffix}.gz")
    if packed.exists() and packed.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return packed
    unfinished = packed.with_suffix(".unfinished")
    with (
        path.open("rb") as plain,
        unfinished.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packing,
    ):
        shutil.copyfileobj(plain, packing, _WRITE_BYTES)
    return unfinished.rename(packed)


def make(kind: str, size_bytes: int, path: Path, *, seed: int = SEED) -> Made:
    """Write a corpus file that ends with the first dialogue beyond `size_bytes`."""
    layout = LAYOUTS[kind]
    rng = Random(f"{kind} {seed}")
    sentences = _sentences(rng, ascii_only=layout.ascii_only)
    dialogues = _Dialogues(rng, sentences, layout)
    digest = hashlib.sha256()
    written = 0

    with path.open("wb", buffering=0) as file:

        def write(block: bytes) -> None:
            nonlocal written
            file.write(block)
            digest.update(block)
            written += len(block)

        rows = layout.rows(rng, sentences, dialogues)
        block = bytearray(layout.opening + next(rows))
        while written + len(block) < size_bytes:
            if len(block) >= _WRITE_BYTES:
                write(bytes(block))
                block.clear()
            block += layout.between
            block += next(rows)
        write(bytes(block) + layout.closing.replace(b"COUNT", b"%d" % dialogues.count))
    return Made(kind, written, digest.hexdigest(), dialogues.count, dialogues.duplicates)


# -- what people say -------------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    return text.split()


_COMMON = _words(
    "the of and to a in is that it for you was with on as be at by this have from or not are but "
    "what all were when we there can an your which their said if do will each about how up out "
    "them then she many some so these would other into has more her two like him see time could "
    "no make than first been its who now people my made over did down only way find use may water "
    "long little very after words called just where most know"
)
_SYLLABLES = _words(
    "ba be bo ca ce co da de di do fa fe fi ga ge gi ha he hi ja ka ke ko la le li lo ma me mi mo "
    "na ne ni no pa pe po ra re ri ro sa se si so ta te ti to va ve vi wa we za zo"
)
_ENDINGS = ("", "", "", "n", "r", "s", "t", "ng", "nd", "st", "lly", "tion")
_FOREIGN = (
    *("café", "naïve", "größer", "señor", "façade", "œuvre", "Zürich", "Łódź", "mañana", "Straße"),
    *("привет", "спасибо", "日本語", "東京", "감사합니다", "مرحبا", "½", "→", "“so”", "it’s"),
    *("—", "…", "€20", "😀", "🎉"),
)
_CODE = (
    'print("{0}, {1}")',
    '{{"{0}": [1, 2], "{1}": null}}',
    "for {0} in {1}:\n    {0} += 1",
    "C:\\{0}\\{1}.txt",
    "| {0} | {1} |\n| --- | --- |",
)


def _sentences(rng: Random, *, ascii_only: bool) -> list[bytes]:
    """A pool of sentences between `_SENTENCE_CHARACTERS`, escaped for JSON."""
    low, high = _SENTENCE_CHARACTERS
    words = _vocabulary(rng)
    # A few words make most of every language's text (Zipf's law).
    weights = list(accumulate(1 / (rank + 3) for rank in range(len(words))))

    def word() -> str:
        return words[bisect(weights, rng.random() * weights[-1], hi=len(words) - 1)]

    pool: list[bytes] = []
    while len(pool) < _SENTENCES:
        text = _sentence(rng, word)
        if low <= len(text) <= high:
            pool.append(json.dumps(text, ensure_ascii=ascii_only).encode()[1:-1])
    return pool


def _vocabulary(rng: Random) -> list[str]:
    words = dict.fromkeys(_COMMON)
    while len(words) < 4_000:
        syllables = [rng.choice(_SYLLABLES) for _ in range(rng.randint(1, 4))]
        words["".join(syllables) + rng.choice(_ENDINGS)] = None
    return list(words)


def _sentence(rng: Random, word: Callable[[], str]) -> str:
    words = [word() for _ in range(rng.randint(4, 19))]
    chance = rng.random()
    if chance < 0.06:
        words[rng.randrange(len(words))] = rng.choice(_FOREIGN)
    elif chance < 0.12:
        words[rng.randrange(len(words))] = str(rng.randint(2, 99_999))
    elif chance < 0.16:
        words[-1] = f'"{words[-1]} {word()}"'
    elif chance < 0.19:
        words[-1] = rng.choice(_CODE).format(word(), word())
    elif chance < 0.22:
        words[rng.randrange(len(words))] += "\n-"
    elif chance < 0.224:
        words[-1] = f"{word()}.{word()}@example.com"
    text = " ".join(words)
    return text[0].upper() + text[1:] + rng.choice("......??!:")


class _Dialogues:
    """An endless supply of dialogues, of which some are repeated."""

    def __init__(self, rng: Random, sentences: Sequence[bytes], layout: Layout) -> None:
        self._rng = rng
        self._sentences = sentences
        self._layout = layout
        self._remembered: list[Dialogue] = []
        self.count = 0
        self.duplicates = 0

    def __next__(self) -> Dialogue:
        rng, remembered = self._rng, self._remembered
        self.count += 1
        if remembered and rng.random() < DUPLICATE_SHARE:
            self.duplicates += 1
            return rng.choice(remembered)
        layout = self._layout
        dialogue = []
        for _ in range(rng.randint(1, layout.max_exchanges)):
            dialogue += [self._text(layout.prompt_sentences), self._text(layout.reply_sentences)]
        if len(remembered) < _REMEMBERED:
            remembered.append(dialogue)
        else:
            remembered[rng.randrange(_REMEMBERED)] = dialogue
        return dialogue

    def _text(self, sentences: tuple[int, int]) -> bytes:
        joint = self._rng.choice((b" ", b" ", b" ", b"\\n", b"\\n\\n"))
        return joint.join(self._rng.choices(self._sentences, k=self._rng.randint(*sentences)))


# -- how programs write it down --------------------------------------------------------------------

Rows = Callable[[Random, Sequence[bytes], _Dialogues], Iterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One kind of file."""

    opening: bytes
    between: bytes
    closing: bytes  # COUNT stands for the number of dialogues
    rows: Rows  # one row of the file for each dialogue
    ascii_only: bool  # other characters are escaped
    max_exchanges: int
    prompt_sentences: tuple[int, int]  # at least and at most
    reply_sentences: tuple[int, int]


def _sharegpt_rows(
    rng: Random, sentences: Sequence[bytes], dialogues: _Dialogues
) -> Iterator[bytes]:
    turn = (b'{"from": "human", "value": "%b"}', b'{"from": "gpt", "value": "%b"}')
    while True:
        dialogue = next(dialogues)
        turns = b", ".join([turn[number & 1] % text for number, text in enumerate(dialogue)])
        yield b'{"id": "%b_0", "conversations": [%b]}' % (_name(rng), turns)


def _pairs_rows(rng: Random, sentences: Sequence[bytes], dialogues: _Dialogues) -> Iterator[bytes]:
    now = datetime(2024, 3, 1, 9, 30)
    while True:
        now += timedelta(microseconds=rng.randrange(4_000_000, 90_000_000))
        prompt, reply = next(dialogues)
        yield (
            b'    {\n      "user": "%b",\n      "ech0": "%b",\n      "timestamp": "%b"\n    }'
            % (prompt, reply, now.isoformat().encode())
        )


def _name(rng: Random) -> bytes:
    """An id of 7 letters and digits."""
    return (b"%013x" % rng.getrandbits(52))[:7]


def _uuid(rng: Random) -> bytes:
    digits = b"%032x" % rng.getrandbits(128)
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _chatgpt_rows(
    rng: Random, sentences: Sequence[bytes], dialogues: _Dialogues
) -> Iterator[bytes]:
    while True:
        yield _Chat(rng, sentences).export(next(dialogues))


#: What ChatGPT writes beside a text, by who said it.
_USER_METADATA = (
    b'"selected_sources": [], "selected_github_repos": [], "serialization_metadata": '
    b'{"custom_symbol_offsets": []}, "request_id": "%b-FRA", "message_source": null, '
    b'"timestamp_": "absolute", "message_type": null'
)
_REPLY_METADATA = (
    b'"citations": [], "content_references": [%b], "search_result_groups": [], "gizmo_id": null, '
    b'"finish_details": {"type": "stop", "stop_tokens": [200002]}, "is_complete": true, '
    b'"message_type": null, "model_slug": "gpt-4o", "default_model_slug": "auto", '
    b'"model_adjustments": [], "model_switcher_deny": [{"slug": "o3-mini", "context": '
    b'"regenerate", "reason": "unsupported_attachment", "is_available": true, "description": '
    b'"This model cannot be used with this attachment."}], "pad": "AAAAAAAAAAAAAAAAAAAAAAAAAAA", '
    b'"parent_id": "%b", "request_id": "%b-FRA", "timestamp_": "absolute"'
)
_REFERENCE = (
    b'{"matched_text": "\\ue200cite\\ue202turn0search%d\\ue201", "start_idx": %d, "end_idx": %d, '
    b'"safe_urls": ["https://example.com/%b"], "refs": [], "alt": null, "prompt_text": null, '
    b'"type": "webpage", "invalid": false, "attributions": null, "items": [{"title": "%b", '
    b'"url": "https://example.com/%b", "pub_date": null, "snippet": "%b", "attribution": '
    b'"example.com"}], "style": null, "error": null}'
)
_TOOL_METADATA = (
    b'"_cite_metadata": {"citation_format": {"name": "tether_og", "regex": '
    b'"\\u3010(\\\\d+)\\u2020([^\\u3011]+)\\u3011"}, "metadata_list": [%b]}, "command": "search", '
    b'"status": "finished", "message_type": null, "model_slug": "gpt-4o", "parent_id": "%b", '
    b'"request_id": "%b-FRA", "timestamp_": "absolute"'
)
_FOUND = (
    b'{"type": "webpage", "title": "%b", "url": "https://example.com/%b", "text": "%b", '
    b'"pub_date": null, "extra": {"cited_message_idx": %d, "evidence_text": "source"}}'
)
_HIDDEN_METADATA = b'"is_visually_hidden_from_conversation": true'


class _Chat:
    """One conversation of a ChatGPT export while it is put together."""

    def __init__(self, rng: Random, sentences: Sequence[bytes]) -> None:
        self._rng = rng
        self._sentences = sentences
        self._messages: dict[bytes, bytes] = {}
        self._parents: dict[bytes, bytes] = {}
        self._children: dict[bytes, list[bytes]] = {}
        self._time = 1_690_000_000 + rng.random() * 40_000_000

    def export(self, dialogue: Dialogue) -> bytes:
        rng = self._rng
        began = self._time
        root = _uuid(rng)
        self._messages[root] = b"null"
        self._children[root] = []
        here = self._say(root, b"system", b"", _HIDDEN_METADATA, weight=b"0.0")
        for number, text in enumerate(dialogue):
            if number % 2 == 0:
                here = self._say(here, b"user", text, _USER_METADATA % _name(rng))
                continue
            if rng.random() < 0.12:  # regenerated later
                self._reply(here, self._prose(6))
            if rng.random() < 0.10:
                here = self._tool_call(here)
            here = self._reply(here, text)
        return self._whole(began, current=here)

    def _reply(self, parent: bytes, text: bytes) -> bytes:
        references = b""
        if self._rng.random() < 0.10:
            found = range(self._rng.randint(1, 4))
            references = b", ".join([self._reference(number) for number in found])
        metadata = _REPLY_METADATA % (references, parent, _name(self._rng))
        return self._say(parent, b"assistant", text, metadata, end_turn=b"true")

    def _reference(self, number: int) -> bytes:
        start, link = self._rng.randrange(2_000), _name(self._rng)
        prose = self._prose(1), link, self._prose(2)
        return _REFERENCE % (number, start, start + 25, link, *prose)

    def _tool_call(self, parent: bytes) -> bytes:
        rng = self._rng
        asked = self._say(
            parent,
            b"assistant",
            self._prose(1),
            _REPLY_METADATA % (b"", parent, _name(rng)),
            content=b'{"content_type": "code", "language": "unknown", '
            b'"response_format_name": null, "text": "search(\\"%b\\")"}',
            recipient=b"browser",
        )
        found = b", ".join(
            [
                _FOUND % (self._prose(1), _name(rng), self._prose(3), number)
                for number in range(rng.randint(2, 5))
            ]
        )
        return self._say(
            asked,
            b"tool",
            self._prose(8),
            _TOOL_METADATA % (found, asked, _name(rng)),
            name=b'"browser"',
            content=b'{"content_type": "tether_browsing_display", "result": "%b", "summary": null, '
            b'"assets": null, "tether_id": null}',
        )

    def _prose(self, sentences: int) -> bytes:
        return b" ".join(self._rng.choices(self._sentences, k=sentences))

    def _say(
        self,
        parent: bytes,
        role: bytes,
        text: bytes,
        metadata: bytes,
        *,
        name: bytes = b"null",
        content: bytes = b'{"content_type": "text", "parts": ["%b"]}',
        end_turn: bytes = b"null",
        weight: bytes = b"1.0",
        recipient: bytes = b"all",
    ) -> bytes:
        """Add a message; returns its id."""
        message = _uuid(self._rng)
        self._time += self._rng.random() * 60
        self._parents[message] = parent
        self._children[parent].append(message)
        self._children[message] = []
        self._messages[message] = (
            b'{"id": "%b", "author": {"role": "%b", "name": %b, "metadata": {}}, '
            b'"create_time": %.6f, "update_time": null, "content": %b, '
            b'"status": "finished_successfully", "end_turn": %b, "weight": %b, '
            b'"metadata": {%b}, "recipient": "%b", "channel": null}'
        ) % (
            *(message, role, name, self._time, content % text, end_turn, weight),
            *(metadata, recipient),
        )
        return message

    def _whole(self, began: float, *, current: bytes) -> bytes:
        nodes = []
        for node, message in self._messages.items():
            parent = self._parents.get(node)
            children = b", ".join([b'"%b"' % child for child in self._children[node]])
            parent_id = b"null" if parent is None else b'"%b"' % parent
            nodes.append(
                b'"%b": {"id": "%b", "message": %b, "parent": %b, "children": [%b]}'
                % (node, node, message, parent_id, children)
            )
        conversation = _uuid(self._rng)
        return (
            b'{"title": "%b", "create_time": %.6f, "update_time": %.6f, "mapping": {%b}, '
            b'"moderation_results": [], "current_node": "%b", "plugin_ids": null, '
            b'"conversation_id": "%b", "conversation_template_id": null, "gizmo_id": null, '
            b'"gizmo_type": null, "is_archived": false, "is_starred": null, "safe_urls": [], '
            b'"blocked_urls": [], "default_model_slug": "auto", "conversation_origin": null, '
            b'"voice": null, "async_status": null, "disabled_tool_ids": [], '
            b'"is_do_not_remember": null, "memory_scope": "global_enabled", "id": "%b"}'
        ) % (
            *(self._prose(1), began, self._time, b", ".join(nodes)),
            *(current, conversation, conversation),
        )


LAYOUTS = {
    "sharegpt": Layout(
        opening=b"[",
        between=b", ",
        closing=b"]",
        rows=_sharegpt_rows,
        ascii_only=False,
        max_exchanges=5,
        prompt_sentences=(1, 3),
        reply_sentences=(4, 16),
    ),
    "chatgpt": Layout(
        opening=b"[",
        between=b", ",
        closing=b"]",
        rows=_chatgpt_rows,
        ascii_only=True,
        max_exchanges=6,
        prompt_sentences=(1, 3),
        reply_sentences=(4, 16),
    ),
    "pairs": Layout(
        opening=b'{\n  "conversations": [\n',
        between=b",\n",
        closing=b'\n  ],\n  "total_interactions": COUNT\n}',
        rows=_pairs_rows,
        ascii_only=True,
        max_exchanges=1,
        prompt_sentences=(1, 2),
        reply_sentences=(2, 4),
    ),
}
"""By kind. Sentences of 25 to 120 characters make prompts of 25 to 364 and replies of 103 to 1,950
characters; in pairs of 25 to 242 and 51 to 486."""


def main(arguments: Sequence[str]) -> int:
    """Make one corpus file and say what it holds, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.corpus", description=__doc__)
    parser.add_argument("kind", choices=list(LAYOUTS))
    parser.add_argument("megabytes", type=int)
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--gzip", action="store_true", help="and a packed one beside it")
    chosen = parser.parse_args(arguments)
    try:
        path, made = corpus(chosen.kind, chosen.megabytes * MEGABYTE, chosen.folder)
    except WrongCorpus as wrong:
        print(wrong, file=sys.stderr)
        return 1
    if chosen.gzip:
        gzipped(path)
    print(json.dumps({"path": str(path), **asdict(made)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
