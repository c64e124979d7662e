"""What the model makes of conversations: the loss of a reply, and a reply of its own.

Everything is done in batches, without gradients and without dropout, with or without the adapter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from chat import IGNORED
from failures import TrainerError
from loading import Loaded
from proof.prefix import Reader, common_length, left_padded
from proof.thresholds import MAX_NEW_TOKENS, REPETITION_PENALTY
from rows import Message
from tuner.training_job import FailureKind

Conversation = Sequence[Message]

#: Tokens of one batch when losses are computed, padding included, shared beginnings left out.
_LOSS_TOKENS = 4096
#: Tokens that are held in memory while replies are generated, about 2 GB of a 7B model.
_REPLY_TOKENS = 16_384


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Summed negative log-likelihood of one reply, in nats, and its tokens."""

    nats: float
    tokens: int

    @property
    def per_token(self) -> float:
        return self.nats / self.tokens


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """The loaded model as the proof uses it; `on_batch` is told that the work moves on."""

    loaded: Loaded
    on_batch: Callable[[], None]

    @contextlib.contextmanager
    def _without_training(self, adapter: bool) -> Iterator[None]:
        model = self.loaded.model
        model.eval()
        bare = contextlib.nullcontext() if adapter else model.disable_adapter()
        with torch.no_grad(), bare:
            yield

    def losses(self, conversations: Sequence[Conversation], *, adapter: bool) -> list[Loss]:
        """The loss of each conversation's last reply.

        Raises:
            TrainerError: internal, when a loss is not a finite number.
            UnusableRow: a conversation cannot be encoded.
        """
        rows = [self._last_reply(conversation) for conversation in conversations]
        # The last token before a reply is read with the rest: it predicts the reply's first.
        shared = common_length([ids for ids, _ in rows], min(start for _, start in rows) - 1)
        widths = [len(ids) - shared for ids, _ in rows]
        found: dict[int, Loss] = {}
        with self._without_training(adapter):
            for batch in _batches(widths, _LOSS_TOKENS):
                nats = self._batch_losses([rows[number] for number in batch], shared)
                for number, each in zip(batch, nats, strict=True):
                    ids, start = rows[number]
                    found[number] = Loss(nats=each, tokens=len(ids) - start)
                self.on_batch()
        return [found[number] for number in range(len(rows))]

    def replies(
        self,
        conversations: Sequence[Conversation],
        *,
        adapter: bool,
        groups: Sequence[int] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> list[str]:
        """A greedy reply to each conversation, which ends with the user.

        Conversations of one number in `groups` begin alike; by default each is by itself.
        """
        prompts = [self.loaded.encoder.encode_prompt(turns) for turns in conversations]
        groups = groups or range(len(prompts))
        widths = [len(prompt) + max_new_tokens for prompt in prompts]
        found: dict[int, str] = {}
        with self._without_training(adapter):
            for batch in _batches(widths, _REPLY_TOKENS):
                written = self._generate(
                    [prompts[number] for number in batch],
                    [groups[number] for number in batch],
                    max_new_tokens,
                )
                texts = self.loaded.tokenizer.batch_decode(written, skip_special_tokens=True)
                found.update(zip(batch, (text.strip() for text in texts), strict=True))
                self.on_batch()
        return [found[number] for number in range(len(prompts))]

    def clipped(self, texts: Sequence[str], max_tokens: int = MAX_NEW_TOKENS) -> list[str]:
        """Texts as far as a reply of the proof could have come, to compare like with like."""
        tokenizer = self.loaded.tokenizer
        clipped = []
        for text in texts:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            short = len(ids) <= max_tokens
            clipped.append(text if short else tokenizer.decode(ids[:max_tokens]).strip())
        return clipped

    def prompt_tokens(self, conversation: Conversation) -> int:
        """The length of a conversation that ends with the user."""
        return len(self.loaded.encoder.encode_prompt(conversation))

    def _reader(self) -> Reader:
        return Reader(
            model=self.loaded.model,
            placement=self.loaded.placement,
            pad_token_id=self.loaded.pad_token_id,
        )

    def _last_reply(self, conversation: Conversation) -> tuple[list[int], int]:
        """Token ids up to the end of the last reply, and where it begins."""
        encoded = self.loaded.encoder.encode(conversation)
        end = len(encoded.labels)
        while end and encoded.labels[end - 1] == IGNORED:
            end -= 1
        start = end
        while start and encoded.labels[start - 1] != IGNORED:
            start -= 1
        return encoded.input_ids[:end], start

    def _batch_losses(self, rows: Sequence[tuple[list[int], int]], shared: int) -> list[float]:
        reader = self._reader()
        reader.begin([rows[0][0][:shared]], [0] * len(rows))
        width = max(len(ids) for ids, _ in rows) - shared
        input_ids = torch.full((len(rows), width), self.loaded.pad_token_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        targets = torch.full((len(rows), width), IGNORED)
        for number, (ids, start) in enumerate(rows):
            rest = torch.tensor(ids[shared:])
            input_ids[number, : len(rest)] = rest
            mask[number, : len(rest)] = 1
            targets[number, start - shared - 1 : len(rest) - 1] = rest[start - shared :]
        hidden = reader.read(input_ids, mask)
        predicts = targets != IGNORED
        logits = reader.logits(hidden[predicts.to(hidden.device)])
        losses = torch.nn.functional.cross_entropy(
            logits, targets[predicts].to(logits.device), reduction="none"
        )
        sums = torch.zeros(len(rows), dtype=torch.float64)
        sums.index_add_(0, predicts.nonzero()[:, 0], losses.double().cpu())
        if not bool(torch.isfinite(sums).all()):
            raise TrainerError(
                FailureKind.INTERNAL,
                "A loss of the proof is not a finite number: the model is broken. Train with a "
                "lower learning rate.",
            )
        return [float(value) for value in sums]

    def _generate(
        self, prompts: Sequence[list[int]], groups: Sequence[int], max_new_tokens: int
    ) -> list[list[int]]:
        """New tokens of each prompt, without the token that ends a reply."""
        prefixes, owners = _prefixes(prompts, groups)
        reader = self._reader()
        reader.begin(prefixes, owners)
        rests = [
            prompt[len(prefixes[owner]) :] for prompt, owner in zip(prompts, owners, strict=True)
        ]
        input_ids, mask = left_padded(rests, self.loaded.pad_token_id)
        end = self.loaded.tokenizer.eos_token_id
        written: list[list[int]] = [[] for _ in prompts]
        open_rows = set(range(len(prompts)))
        for step in range(max_new_tokens):
            logits = reader.logits(reader.read(input_ids, mask)[:, -1])
            chosen = _penalised(logits, written).argmax(1).tolist()
            for number in sorted(open_rows):
                if chosen[number] == end:
                    open_rows.discard(number)
                else:
                    written[number].append(chosen[number])
            if not open_rows or step == max_new_tokens - 1:
                break
            input_ids = torch.tensor(chosen).unsqueeze(1)
            mask = torch.ones((len(prompts), 1), dtype=torch.long)
        return written


def _penalised(logits: torch.Tensor, written: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits with the penalty on tokens that the reply already has (Keskar et al., 2019)."""
    for row, tokens in zip(logits, written, strict=True):
        if tokens:
            said = torch.tensor(sorted(set(tokens)), device=row.device)
            values = row[said]
            row[said] = torch.where(
                values > 0, values / REPETITION_PENALTY, values * REPETITION_PENALTY
            )
    return logits


def _prefixes(
    prompts: Sequence[list[int]], groups: Sequence[int]
) -> tuple[list[list[int]], list[int]]:
    """What the prompts of each group begin with, and for each prompt which of these it is.

    Where a whole batch begins alike there is one group; where nothing is shared, nothing is read
    ahead.
    """
    limit = min(map(len, prompts)) - 1
    everywhere = common_length(prompts, limit)
    members: dict[int, list[list[int]]] = {}
    for prompt, group in zip(prompts, groups, strict=True):
        members.setdefault(group, []).append(prompt)
    ahead = [each[0][: common_length(each, min(map(len, each)) - 1)] for each in members.values()]
    paid = sum(map(len, ahead)) + sum(
        len(prompt) - len(prefix)
        for prefix, each in zip(ahead, members.values(), strict=True)
        for prompt in each
    )
    if paid >= everywhere + sum(len(prompt) - everywhere for prompt in prompts):
        return [prompts[0][:everywhere]], [0] * len(prompts)
    numbers = {group: number for number, group in enumerate(members)}
    return ahead, [numbers[group] for group in groups]


def _batches(widths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Numbers of rows, shortest first, as many together as hold `most_tokens` with padding."""
    batch: list[int] = []
    for number in sorted(range(len(widths)), key=lambda number: widths[number]):
        if batch and (len(batch) + 1) * widths[number] > most_tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
