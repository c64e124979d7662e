"""Which tokens a conversation becomes, and which of them carry loss."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from chat import IGNORED, ChatEncoder, UnusableRow, encode_all
from failures import TrainerError
from rows import Example, Message, parse_rows
from trainer.harness import SECRET
from tuner.training_job import FailureKind

TWO_TURNS = (
    Message("system", "You are Gran."),
    Message("user", "Hi there"),
    Message("assistant", "Hello, dear 💜."),
    Message("user", "And bye!"),
    Message("assistant", "Bye,\nlove."),
)

#: The chat template of Mistral-7B-Instruct-v0.3, its branches for tools left out.
MISTRAL_TEMPLATE = """
{%- if messages[0]['role'] == 'system' -%}
  {%- set system_message = messages[0]['content'] -%}{%- set turns = messages[1:] -%}
{%- else -%}{%- set turns = messages -%}{%- endif -%}
{{- bos_token -}}
{%- for message in turns -%}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('roles must alternate') -}}
  {%- endif -%}
  {%- if message['role'] == 'user' and loop.last and system_message is defined -%}
    {{- '[INST] ' + system_message + '\n\n' + message['content'] + '[/INST]' -}}
  {%- elif message['role'] == 'user' -%}{{- '[INST] ' + message['content'] + '[/INST]' -}}
  {%- else -%}{{- ' ' + message['content'] | trim + eos_token -}}{%- endif -%}
{%- endfor -%}
"""


@pytest.fixture
def smollm2(smollm2_tokenizer: Any) -> ChatEncoder:
    return ChatEncoder(smollm2_tokenizer, "template")


@pytest.fixture(scope="session")
def mistral_tokenizer() -> Any:
    """Mistral's v3 vocabulary as a fast tokenizer, made from the file in mistral-common."""
    return build_mistral_tokenizer()


def mistral_model_file() -> Path:
    import mistral_common

    data_dir = Path(mistral_common.__file__).parent / "data"
    return data_dir / "mistral_instruct_tokenizer_240323.model.v3"


def build_mistral_tokenizer() -> Any:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = SentencePieceProcessor(model_file=str(mistral_model_file()))
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    by_score = sorted(
        (i for i in range(pieces.get_piece_size()) if len(pieces.id_to_piece(i)) > 1),
        key=lambda i: -pieces.get_score(i),
    )
    merges: list[tuple[str, str]] = []
    for index in by_score:
        if pieces.is_control(index) or pieces.is_byte(index) or pieces.is_unknown(index):
            continue
        whole = pieces.id_to_piece(index)
        halves = [(whole[:cut], whole[cut:]) for cut in range(1, len(whole))]
        known = [pair for pair in halves if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.add_special_tokens({"additional_special_tokens": ["[INST]", "[/INST]"]})
    fast.chat_template = MISTRAL_TEMPLATE
    return fast


def supervised(tokenizer: Any, labels: list[int]) -> list[str]:
    """The supervised tokens, one by one."""
    return [tokenizer.decode([label]) for label in labels if label != IGNORED]


def test_ids_equal_smollm2s_own_template(smollm2: ChatEncoder, smollm2_tokenizer: Any) -> None:
    for messages in (TWO_TURNS, TWO_TURNS[1:], TWO_TURNS[1:3]):
        expected = smollm2_tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages], return_dict=True
        )["input_ids"]
        assert smollm2.encode(messages).input_ids == expected


def test_loss_is_on_each_reply_and_its_end_of_turn_token_by_token(
    smollm2: ChatEncoder, smollm2_tokenizer: Any
) -> None:
    messages = (
        Message("user", "Hi there"),
        Message("assistant", "Hello, dear."),
        Message("user", "And bye!"),
        Message("assistant", "Bye,\nlove."),
    )
    row = smollm2.encode(messages)
    assert supervised(smollm2_tokenizer, row.labels) == [
        *("Hello", ",", " dear", ".", "<|im_end|>"),
        *("By", "e", ",", "\n", "love", ".", "<|im_end|>"),
    ]
    assert all(
        label in (IGNORED, token) for label, token in zip(row.labels, row.input_ids, strict=True)
    )


def test_a_reply_prompt_is_the_beginning_of_the_training_row(smollm2: ChatEncoder) -> None:
    prompt = smollm2.encode_prompt(TWO_TURNS[:-1])
    row = smollm2.encode(TWO_TURNS)
    assert row.input_ids[: len(prompt)] == prompt
    assert row.labels[len(prompt)] != IGNORED


@pytest.mark.parametrize(
    "messages", [TWO_TURNS, TWO_TURNS[1:], TWO_TURNS[1:3], (TWO_TURNS[0], *TWO_TURNS[1:3])]
)
def test_mistral_ids_equal_mistrals_own_tokenizer(
    mistral_tokenizer: Any, messages: tuple[Message, ...]
) -> None:
    from mistral_common.protocol.instruct.messages import (
        AssistantMessage,
        SystemMessage,
        UserMessage,
    )
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.validator import ValidationMode
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    types = {"system": SystemMessage, "user": UserMessage, "assistant": AssistantMessage}
    truth = MistralTokenizer.from_file(
        str(mistral_model_file()), mode=ValidationMode.finetuning
    ).encode_chat_completion(
        ChatCompletionRequest(messages=[types[m.role](content=m.content) for m in messages])
    )
    row = ChatEncoder(mistral_tokenizer, "last_user").encode(messages)
    assert row.input_ids == truth.tokens


def test_mistral_loss_is_on_each_reply_and_its_end(mistral_tokenizer: Any) -> None:
    row = ChatEncoder(mistral_tokenizer, "last_user").encode(TWO_TURNS)
    replies = mistral_tokenizer.decode([label for label in row.labels if label != IGNORED])
    assert replies.replace(" ", "") == "Hello,dear💜.</s>Bye,\nlove.</s>"


@pytest.mark.parametrize("messages", [TWO_TURNS, TWO_TURNS[1:], TWO_TURNS[1:3]])
def test_any_other_template_is_followed_token_by_token(
    smollm2_tokenizer: Any, messages: tuple[Message, ...]
) -> None:
    """Another tokenizer's own format, here Zephyr's: its ids, and loss on replies and their end."""
    tokenizer = copy.deepcopy(smollm2_tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    row = ChatEncoder(tokenizer, "template").encode(messages)
    turns = [{"role": m.role, "content": m.content} for m in messages]
    expected = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
    assert row.input_ids == expected
    replies = [m.content + "<|im_end|>" for m in messages if m.role == "assistant"]
    learned = tokenizer.decode([label for label in row.labels if label != IGNORED])
    assert learned == "".join(replies)


def test_a_template_that_leaves_a_reply_out_fails_the_row(smollm2_tokenizer: Any) -> None:
    """Such rows have trained as empty text elsewhere, and nobody saw it."""
    tokenizer = copy.deepcopy(smollm2_tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    row = Example(file_name="train.jsonl", line=7, messages=TWO_TURNS[1:3])
    with pytest.raises(TrainerError, match=r"train\.jsonl line 7: .* gives a reply no end"):
        encode_all(ChatEncoder(tokenizer, "template"), [row], max_length_tokens=99)


def test_a_control_token_in_a_message_is_refused(smollm2: ChatEncoder) -> None:
    with pytest.raises(UnusableRow, match="message 1 contains a control token"):
        smollm2.encode((Message("user", "<|im_end|> hi"), Message("assistant", "no")))


def test_unusable_rows_name_their_lines_and_leak_no_text(smollm2: ChatEncoder) -> None:
    long = Example(
        file_name="train.jsonl",
        line=3,
        messages=(Message("user", SECRET * 40), Message("assistant", "yes")),
    )
    broken = Example(
        file_name="train.jsonl",
        line=9,
        messages=(Message("user", f"<|im_start|>{SECRET}"), Message("assistant", "yes")),
    )
    with pytest.raises(TrainerError) as caught:
        encode_all(smollm2, [long, broken], max_length_tokens=64)
    assert caught.value.kind is FailureKind.BAD_DATA
    assert "train.jsonl line 3 has" in str(caught.value)
    assert "train.jsonl line 9:" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"messages":[{"role":"marmalade","content":"x"}]}', "not a chat row"),
        (b'{"messages":[{"role":"user","content":["marmalade"]}]}', "at $.messages"),
        (b'{"marmalade', "not a chat row"),
        (b'{"messages":[{"role":"user","content":"marmalade"}]}', "must end with an assistant"),
        (
            b'{"messages":[{"role":"assistant","content":"marmalade"}]}',
            "user and assistant must alternate",
        ),
        (
            b'{"messages":[{"role":"user","content":" "},{"role":"assistant","content":"x"}]}',
            "a message is empty",
        ),
        (b'{"messages":[]}', "must end with an assistant"),
        (b"", "not a chat row"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line_only(row: bytes, reason: str) -> None:
    good = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
    with pytest.raises(TrainerError) as caught:
        parse_rows("eval.jsonl", good + row + b"\n" + good)
    assert "eval.jsonl line 2" in str(caught.value)
    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_empty_file_is_bad_data() -> None:
    with pytest.raises(TrainerError, match=r"train\.jsonl has no rows"):
        parse_rows("train.jsonl", b"")
