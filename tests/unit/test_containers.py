"""Files of any container and encoding become the same text, and hostile ones are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.memory_source import MemorySource
from tuner.conversations import json_strings
from tuner.conversations.containers import Damaged, Limits, Part, open_parts
from tuner.errors import RejectedUpload

#: Stands in every file that is refused; no message may repeat it.
SECRET = "the owl sleeps at noon"
TEXT = json.dumps({"history": [{"role": "user", "content": SECRET}]}).encode()

SMALL = Limits(bomb_floor_bytes=100_000, bomb_ratio=20)


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def as_string(text: bytes) -> bytes:
    return json.dumps(text.decode()).encode()


def parts(
    content: bytes, limits: Limits | None = None, sizes: list[int] | None = None
) -> Iterator[Part]:
    return open_parts(MemorySource(content, sizes or ()), limits)


def only(content: bytes, limits: Limits | None = None, sizes: list[int] | None = None) -> Part:
    [part] = parts(content, limits, sizes)
    return part


def read(content: bytes, limits: Limits | None = None, sizes: list[int] | None = None) -> bytes:
    return b"".join(only(content, limits, sizes).chunks)


def read_until_damage(chunks: Iterator[bytes]) -> tuple[bytes, str]:
    """What was good, and what the damage is; "" for none."""
    good = b""
    try:
        for chunk in chunks:
            good += chunk
    except Damaged as damage:
        return good, str(damage)
    return good, ""


def refusal(content: bytes, limits: Limits | None = None) -> RejectedUpload:
    with pytest.raises(RejectedUpload) as refused:
        [list(part.chunks) for part in parts(content, limits)]
    error = refused.value
    assert SECRET not in str(error)
    assert error.fix.endswith(".")
    assert error.place
    return error


def noise(size: int) -> bytes:
    """Text that does not pack well, the same each time."""
    lines, state = [], 1
    for _ in range(size // 16):
        state = state * 6364136223846793005 % (1 << 64)
        lines.append(f"{state:016x}")
    return json.dumps(lines).encode()


# -- any container, the same text ------------------------------------------------------------------

CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda text: text,
    "gzip": gzip.compress,
    "gzip in gzip": lambda text: gzip.compress(gzip.compress(text)),
    "zip": lambda text: zipped(("a.json", text)),
    "gzip in zip": lambda text: zipped(("a", gzip.compress(text)), method=zipfile.ZIP_STORED),
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "UTF-32": lambda text: text.decode().encode("utf-32-be"),
    "UTF-16 in gzip": lambda text: gzip.compress(text.decode().encode("utf-16-be")),
    "JSON string": as_string,
    "JSON string in gzip": lambda text: gzip.compress(as_string(text)),
    "JSON string in JSON string": lambda text: as_string(as_string(text)),
    "JSON string in UTF-16 in zip": lambda text: zipped(
        ("a", as_string(text).decode().encode("utf-16-le"))
    ),
}

SIZES = st.lists(st.integers(0, 40), max_size=30)
WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=40)
DOCUMENTS = st.recursive(
    WORDS | st.integers(), lambda of: st.lists(of) | st.dictionaries(WORDS, of)
)
TEXTS = st.builds(
    lambda document, ascii_only: json.dumps([document], ensure_ascii=ascii_only).encode(),
    DOCUMENTS,
    st.booleans(),
)


@pytest.mark.parametrize("container", CONTAINERS)
@given(text=TEXTS, sizes=SIZES)
@example(text=b'["' + b"\xf0\x9f\xa6\x89" * 3000 + b'"]', sizes=[1] * 100)
@example(text=b"{}", sizes=[])
def test_any_text_is_the_same_in_any_container_and_chunks(
    container: str, text: bytes, sizes: list[int]
) -> None:
    part = only(CONTAINERS[container](text), sizes=sizes)
    assert b"".join(part.chunks) == text
    assert part.container == container
    assert part.warnings == []


def test_plain_chunks_are_passed_on_uncopied() -> None:
    chunk = TEXT * 100
    source = MemorySource(chunk)
    [part] = open_parts(source)
    assert next(iter(part.chunks)) is chunk


def test_bytes_that_are_not_utf8_are_passed_on_as_they_are() -> None:
    content = "caf\xe9 und so weiter".encode("latin-1")
    assert read(content) == content


def test_a_stray_control_character_makes_no_text_binary() -> None:
    content = b'{"a": "\x00 and then some words that are longer"}'
    assert read(content) == content


# -- gzip ------------------------------------------------------------------------------------------


def test_gzip_members_are_joined() -> None:
    assert read(gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(TEXT)) == TEXT * 2


def test_many_tiny_members_take_no_longer_than_their_bytes_deserve() -> None:
    member = gzip.compress(b"x", mtime=0)
    assert read(gzip.compress(b"[") + member * 20_000) == b"[" + b"x" * 20_000


def test_a_gzip_header_may_hold_a_name_a_comment_and_more() -> None:
    packed = gzip.compress(TEXT)
    header = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x03\x00abc" + b"name\0" + b"comment\0" + b"\1\2"
    for cut in range(1, len(header) + 1):
        assert read(header + packed[10:], sizes=[cut]) == TEXT


def test_zeros_after_gzip_are_padding() -> None:
    part = only(gzip.compress(TEXT) + bytes(1_000_000))
    assert b"".join(part.chunks) == TEXT
    assert part.warnings == []


@pytest.mark.parametrize("rest", [b"x", b"\x1f", b"\0\0<html>"])
def test_other_bytes_after_gzip_are_left_out_with_a_warning(rest: bytes) -> None:
    part = only(gzip.compress(TEXT) + rest)
    assert b"".join(part.chunks) == TEXT
    assert part.warnings == [
        "bytes that are not gzip follow the gzip stream and were left out",
    ]


@pytest.mark.parametrize("lost", [1, 4, 8, 9, 1000])
def test_a_gzip_stream_that_was_cut_yields_all_that_is_there(lost: int) -> None:
    text = noise(1_000_000)
    cut = gzip.compress(text)[:-lost]
    good, damage = read_until_damage(only(cut).chunks)
    assert damage == "the gzip stream ends in the middle"
    assert text.startswith(good)
    assert len(good) > len(zlib.decompressobj(31).decompress(cut)) - 100


def test_a_gzip_stream_with_a_wrong_checksum_is_read_and_then_damaged() -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-8] ^= 1
    good, damage = read_until_damage(only(bytes(packed)).chunks)
    assert (good, damage) == (TEXT, "the gzip stream is damaged (checksum)")


def test_a_gzip_stream_with_a_wrong_length_is_damaged() -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-1] ^= 1
    assert read_until_damage(only(bytes(packed)).chunks)[1].endswith("(checksum)")


def test_a_corrupt_gzip_stream_yields_all_but_the_last_step_before_the_damage() -> None:
    text = noise(300_000)
    packed = bytearray(gzip.compress(text))
    place = len(packed) * 2 // 3
    packed[place : place + 50] = b"\xff" * 50
    good, damage = read_until_damage(only(bytes(packed)).chunks)
    assert damage.startswith("the gzip stream is damaged")
    assert text.startswith(good[:180_000])
    assert len(good) > 180_000


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(TEXT, mtime=0)[:11], b"\x1f\x8b", b"\x1f\x8b\x07" + TEXT],
    ids=["header", "magic", "another method"],
)
def test_a_gzip_stream_without_a_good_byte_is_refused(packed: bytes) -> None:
    assert refusal(packed).reason.startswith("Nothing of the file can be read: the gzip stream")


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = gzip.compress(b"[" + b" " * 50_000_000)
    tracemalloc.start()
    error = refusal(bomb, SMALL)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.reason == "The file unpacks to more than 20 times its size"
    assert peak_bytes < 5_000_000


def test_a_bomb_in_two_layers_is_measured_against_the_outer_one() -> None:
    """Each layer for itself would unpack to no more than its share."""
    text = b"[" + b"x" * 150_000
    assert refusal(gzip.compress(gzip.compress(text, 1)), SMALL).reason.startswith(
        "The file unpacks"
    )


def test_a_bomb_that_yields_no_text_is_refused_too() -> None:
    """The zeros are only padding of the inner stream, and take their time all the same."""
    packed = gzip.compress(gzip.compress(TEXT) + bytes(10_000_000))
    assert refusal(packed, SMALL).reason.startswith("The file unpacks")


def test_what_is_small_is_no_bomb_however_well_it_is_packed() -> None:
    text = b"[" + b" " * 90_000 + b"]"
    assert len(gzip.compress(text)) * 200 < len(text)
    assert read(gzip.compress(text), SMALL) == text


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(gzip.compress(gzip.compress(TEXT))),
        gzip.compress(zipped(("a", TEXT))),
        zipped(("a", zipped(("b", TEXT)))),
        zipped(("a", gzip.compress(gzip.compress(TEXT)))),
    ],
)
def test_a_container_in_too_many_others_is_refused(content: bytes) -> None:
    assert refusal(content).reason.startswith("There is a ")


# -- zip -------------------------------------------------------------------------------------------


def test_the_members_of_a_zip_are_parts_in_its_order() -> None:
    content = zipped(("b.json", b"[2]"), ("folder/", b""), ("folder/a.json", b"[1]"))
    assert [(part.name, b"".join(part.chunks)) for part in parts(content)] == [
        ("b.json", b"[2]"),
        ("folder/a.json", b"[1]"),
    ]


def test_what_is_no_text_in_a_zip_is_left_out_and_counted() -> None:
    content = zipped(
        ("chat.html", b"<!DOCTYPE html><p>" + TEXT),
        ("a.json", TEXT),
        ("1.png", b"\x89PNG\r\n\x1a\n" + TEXT),
        ("2.png", b"\x89PNG\r\n\x1a\n" + TEXT),
        ("named.json", bytes(range(256))),
        ("empty.json", b""),
    )
    [part] = parts(content)
    assert (part.name, b"".join(part.chunks)) == ("a.json", TEXT)
    assert part.warnings == [
        "1 × left out of the zip file: This is a web page, not a conversation file",
        "2 × left out of the zip file: This is a PNG image, not a conversation file",
        "1 × left out of the zip file: This is a binary file, not text",
        "1 × left out of the zip file: The file is empty",
    ]


def test_a_zip_without_any_text_is_refused() -> None:
    assert refusal(zipped(("a", b""), ("b", b"%PDF-1.4"))).reason == (
        "The zip file holds no conversation file"
    )
    assert refusal(zipped()).reason == "The zip file holds no conversation file"
    only_member = refusal(zipped(("a.pdf", b"%PDF-1.4")))
    assert (only_member.reason, only_member.place) == (
        "This is a PDF document, not a conversation file",
        "a.pdf in the zip file",
    )


def test_a_zip_that_was_cut_is_refused() -> None:
    content = zipped(("a", TEXT), ("b", TEXT))
    for cut in (1, 10, 22, 60, len(content) - 4):
        assert refusal(content[:-cut]).reason == "The zip file ends in the middle or is damaged"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_with_a_wrong_checksum_is_read_and_then_damaged(method: int) -> None:
    content = zipped(("a", TEXT), method=method)
    crc = struct.pack("<L", zlib.crc32(TEXT))
    good, damage = read_until_damage(only(content.replace(crc, b"\1\2\3\4")).chunks)
    assert (good, damage) == (TEXT, "a member of the zip file is damaged (checksum)")


def test_damage_in_one_member_leaves_the_others() -> None:
    content = zipped(("a", TEXT), ("b", b"[2]"), method=zipfile.ZIP_STORED)
    found = [
        (part.name, *read_until_damage(part.chunks))
        for part in parts(content.replace(SECRET.encode(), SECRET.upper().encode()))
    ]
    assert found[0][2] == "a member of the zip file is damaged (checksum)"
    assert found[1] == ("b", b"[2]", "")


def test_a_member_without_a_name_is_damaged() -> None:
    content = zipped(("a", TEXT)).replace(b"a", b"\0")
    assert "a member of the zip file is damaged" in refusal(content).reason


def test_a_protected_zip_is_refused() -> None:
    content = bytearray(zipped(("a", TEXT)))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert refusal(bytes(content)).reason == "The zip file is protected by a password"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_in_a_rare_way_is_refused(method: int) -> None:
    assert "packed in a way" in refusal(zipped(("a", TEXT), method=method)).reason


def test_a_zip_of_too_many_members_is_refused() -> None:
    content = zipped(*((f"{number}.json", b"[]") for number in range(11)))
    assert (
        refusal(content, Limits(zip_members=10)).reason == "The zip file has more than 10 members"
    )


def test_a_directory_of_gigabytes_is_not_read() -> None:
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 5_000_000, 0, 0)
    content = b"PK\3\4" + b" " * 5_000_000 + end
    tracemalloc.start()
    error = refusal(content)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "members" in error.reason
    assert peak_bytes < 1_000_000 + len(content)


def test_members_that_share_their_bytes_are_a_bomb_together() -> None:
    """Each is small enough for itself."""
    text = b"[" + b"x" * 90_000
    content = zipped(("a", text))
    body, directory = content[: content.index(b"PK\1\2")], content[content.index(b"PK\1\2") : -22]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 9 * len(directory), len(body), 0)
    assert refusal(body + directory * 9 + end, SMALL).reason.startswith("The file unpacks")


def test_a_member_that_declares_an_absurd_size_is_refused_unread() -> None:
    content = bytearray(zipped(("a", TEXT)))
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<L", 4_000_000_000)
    assert refusal(bytes(content)).reason.startswith("The file unpacks to more than 200 times")
    content[place - 4 : place] = struct.pack("<L", 3_000_000_000)
    assert "larger than the file itself" in refusal(bytes(content)).reason


# -- other files -----------------------------------------------------------------------------------


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"7z\xbc\xaf\x27\x1c" + TEXT, "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00" + TEXT, "a RAR archive"),
        (lzma.compress(TEXT), "an xz file"),
        (bz2.compress(TEXT), "a bzip2 file"),
        (bz2.compress(b""), "a bzip2 file"),
        (b"\x28\xb5\x2f\xfd" + TEXT, "a Zstandard file"),
        (tarred(), "a tar archive"),
        (b"%PDF-1.7\n" + TEXT, "a PDF document"),
        (b"\xff\xd8\xff\xe0" + TEXT, "a JPEG image"),
        (b"RIFF\0\0\0\0WAVE" + TEXT, "a sound file"),
        (b"\0\0\0\x20ftypisom" + TEXT, "a video"),
        (zlib.compress(noise(2000)), "a binary file"),
        (bytes(5000), "a binary file"),
    ],
)
def test_what_is_no_text_is_named_and_refused(content: bytes, kind: str) -> None:
    assert refusal(content).reason.startswith(f"This is {kind}")
    assert refusal(gzip.compress(content)).reason.startswith(f"This is {kind}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The file is empty"),
        (b" \n\t ", "The file is empty"),
        (b"\xef\xbb\xbf", "The file is empty"),
        ("\n ".encode("utf-16"), "The file is empty"),
        (b" " * 3_000_000, "The file is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "This is a Git LFS pointer, not the file itself",
        ),
        (b"\n\n<!doctype HTML><title>x", "This is a web page, not a conversation file"),
        (b" " * 5000 + b"<html>", "This is a web page, not a conversation file"),
        (
            b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
            "This is a web page, not a conversation file",
        ),
    ],
)
def test_what_stands_in_for_a_file_is_refused(content: bytes, reason: str) -> None:
    assert refusal(content).reason == reason
    assert refusal(gzip.compress(content)).reason == reason


@pytest.mark.parametrize("text", [b"<ada> hello\n<ech0> hi\n", b"<Media omitted>", b"<3"])
def test_an_angle_bracket_alone_makes_no_web_page(text: bytes) -> None:
    assert read(text) == text


def test_text_after_much_white_space_is_read() -> None:
    text = b" " * 200_000 + b"[1]"
    assert read(text, sizes=[1, 5000]) == text


def test_more_text_than_the_limit_is_refused() -> None:
    limits = Limits(max_bytes=len(TEXT))
    assert read(TEXT, limits) == TEXT
    assert "holds more than" in refusal(TEXT + b" ", limits).reason
    assert "holds more than" in refusal(gzip.compress(TEXT + b" "), limits).reason
    assert "holds more than" in refusal(zipped(("a", TEXT), ("b", b"[]")), limits).reason


# -- encodings -------------------------------------------------------------------------------------

WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
PLAIN_TEXTS = [
    "Привет, как дела?\n",
    "1/2/24, 10:11 - Ada: 你好,世界\n",
    "{}",
    "5",
    '"\u4e00" ',
    "[" + "\u3042" * 3000 + "]",
]


@pytest.mark.parametrize("codec", WIDE)
@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_an_encoding_is_told_with_and_without_its_mark(codec: str, text: str) -> None:
    assert read(text.encode(codec)) == text.encode()
    assert read(("\ufeff" + text).encode(codec)) == text.encode()


@pytest.mark.parametrize("sizes", [[], [1], [2], [3, 1]])
def test_the_mark_of_utf8_is_dropped(sizes: list[int]) -> None:
    part = only(b"\xef\xbb\xbf" + TEXT, sizes=sizes)
    assert b"".join(part.chunks) == TEXT
    assert part.container == ""


@given(st.lists(st.sampled_from(["a", "\ud83d", "\ude00", "é", "\ud83d\ude00"])), SIZES)
def test_half_of_a_surrogate_pair_becomes_a_replacement(units: list[str], sizes: list[int]) -> None:
    raw = ("[" + "".join(units) + "]").encode("utf-16-le", "surrogatepass")
    part = only(b"\xff\xfe" + raw, sizes=sizes)
    text = b"".join(part.chunks).decode()
    assert text == raw.decode("utf-16-le", "replace")
    halves = text.count("\ufffd")
    assert part.warnings == (
        [f"{halves} × half of a surrogate pair, replaced by U+FFFD"] if halves else []
    )


@pytest.mark.parametrize("codec", WIDE)
def test_an_odd_byte_at_the_end_is_damage(codec: str) -> None:
    text = json.dumps([SECRET])
    good, damage = read_until_damage(only(text.encode(codec) + b"\0").chunks)
    assert good == text.encode()
    assert damage == f"the {codec[:6].upper()} text ends in the middle of a character"


def test_no_character_of_utf32_is_damage_behind_the_good_ones() -> None:
    raw = "[1, 2".encode("utf-32-le") + b"\0\0\0\x7f" + "]".encode("utf-32-le")
    assert read_until_damage(only(b"\xff\xfe\0\0" + raw).chunks) == (
        b"[1, 2",
        "the UTF-32 text is damaged",
    )


# -- a JSON string that holds JSON -----------------------------------------------------------------

ESCAPES = st.sampled_from(
    ["\\n", "\\t", "\\r", "\\b", "\\f", "\\/", '\\"', "\\\\", "\\u00e9", "\\u0000", "\\u005c",
     "\\ud83d\\ude00", "\\uD83D", "\\ude00", "\\u0022", "é", "🦉", "u", "n", "\\\\u0041", "\n"]
)  # fmt: skip


def unescaped(string: str) -> bytes:
    text: str = json.loads(string, strict=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


@given(st.lists(ESCAPES, max_size=20), SIZES)
def test_a_string_is_unescaped_the_same_however_it_is_cut(
    pieces: list[str], sizes: list[int]
) -> None:
    string = '"{' + "".join(pieces) + '"'
    assert read(string.encode() + b" \n", sizes=sizes) == unescaped(string)


@given(st.lists(ESCAPES, max_size=8), st.binary(max_size=3), SIZES)
def test_what_is_no_string_is_damage_at_the_same_place_however_it_is_cut(
    pieces: list[str], rest: bytes, sizes: list[int]
) -> None:
    content = ('"[' + "".join(pieces)).encode() + rest
    cut = MemorySource(content, sizes).chunks()
    assert read_until_damage(json_strings.unescaped(cut, [])) == read_until_damage(
        json_strings.unescaped(iter([content]), [])
    )


@pytest.mark.parametrize(
    ("content", "good", "damage"),
    [
        (rb'"[1, 2', b"[1, 2", "the JSON string ends in the middle"),
        (rb'"[1, \u00', b"[1, ", "the JSON string ends in the middle"),
        (rb'"[1, \x41]"', b"[1, ", "the JSON string is damaged (an escape)"),
        (b'"[1, \x01]"', b"[1, ", "the JSON string is damaged (a control character)"),
        (rb'"[1]" "[2]"', b"[1]", "more than white space follows the JSON string"),
    ],
)
def test_damage_in_a_string_stands_behind_what_is_good(
    content: bytes, good: bytes, damage: str
) -> None:
    assert read_until_damage(only(content).chunks) == (good, damage)


@pytest.mark.parametrize(
    "text",
    [
        b'"Conversation","Time","Author","Message"\n',
        b'"Hello," she said.',
        as_string(as_string(as_string(TEXT))),
        b'"',
        b'"\\',
    ],
)
def test_a_quote_alone_makes_no_wrapped_json(text: bytes) -> None:
    part = only(text)
    assert b"".join(part.chunks) == text
    assert part.container == ""


def test_half_of_a_surrogate_pair_in_a_string_is_counted() -> None:
    part = only(rb'"[\ud83d, \ud83d\ude00, \ude00]"')
    assert b"".join(part.chunks) == "[\ufffd, 😀, \ufffd]".encode()
    assert part.warnings == ["2 × half of a surrogate pair, replaced by U+FFFD"]


# -- anything at all -------------------------------------------------------------------------------


def survives(content: bytes, sizes: list[int]) -> bytes:
    """Reads a file as far as it goes; any other error than ours, or no end, fails the test."""
    found = b""
    try:
        for part in parts(content, SMALL, sizes):
            found += read_until_damage(part.chunks)[0]
    except RejectedUpload:
        pass
    return found


@given(st.binary(max_size=300), SIZES)
def test_any_bytes_are_text_or_refused(content: bytes, sizes: list[int]) -> None:
    survives(content, sizes)


@pytest.mark.parametrize("container", CONTAINERS)
@given(data=st.data(), sizes=SIZES)
def test_any_cut_yields_a_beginning(container: str, data: st.DataObject, sizes: list[int]) -> None:
    content = CONTAINERS[container](TEXT)
    cut = data.draw(st.integers(0, len(content)))
    found = survives(content[:cut], sizes)
    # What is cut before its container can be known is left as it is.
    wrapped = (content[:cut], TEXT, as_string(TEXT), as_string(as_string(TEXT)))
    assert any(text.startswith(found) for text in wrapped)


@pytest.mark.parametrize("container", CONTAINERS)
@given(data=st.data(), sizes=SIZES)
def test_any_corruption_is_survived(container: str, data: st.DataObject, sizes: list[int]) -> None:
    content = bytearray(CONTAINERS[container](TEXT))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    survives(bytes(content), sizes)
