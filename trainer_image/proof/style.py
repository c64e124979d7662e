"""Whose voice a reply is in: a small classifier over character n-grams, with three classes.

Persona, base model, and foreign styles: with only the first two, whatever is unlike the base model
counts as the persona ("dear dear dear" scored 0.76). Multinomial logistic regression with balanced
classes on TF-IDF of 2- to 4-grams within words, fitted in its dual form: there are some hundred
texts and many thousand n-grams.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch

Voice = Literal["persona", "base", "foreign"]
VOICES: tuple[Voice, ...] = ("persona", "base", "foreign")

_SIZES = (2, 3, 4)
#: The weight of the penalty on large coefficients is 1 / (this x texts).
_INVERSE_PENALTY = 10.0
_ITERATIONS = 60


class VoiceClassifier:
    """Fitted on texts of known voices; then says how surely another text is the persona's."""

    def __init__(self, texts: Sequence[str], voices: Sequence[Voice]) -> None:
        counts = [_grams(text) for text in texts]
        documents = Counter(gram for each in counts for gram in each)
        self._idf = {
            gram: math.log((1 + len(texts)) / (1 + found)) + 1 for gram, found in documents.items()
        }
        self._number = {gram: number for number, gram in enumerate(self._idf)}
        self._known = self._features(counts)
        classes = torch.tensor([VOICES.index(voice) for voice in voices])
        self._duals, self._bias = _fit(self._known @ self._known.T, classes)

    def persona_scores(self, texts: Sequence[str]) -> list[float]:
        """The probability of the persona for each text; 0 for a text without a letter."""
        if not texts:
            return []
        counts = [_grams(text) for text in texts]
        logits = self._features(counts) @ self._known.T @ self._duals + self._bias
        scores = torch.softmax(logits, 1)[:, VOICES.index("persona")].tolist()
        return [score if found else 0.0 for score, found in zip(scores, counts, strict=True)]

    def _features(self, counts: Sequence[Counter[str]]) -> torch.Tensor:
        rows = torch.zeros(len(counts), len(self._number), dtype=torch.float32)
        for row, each in zip(rows, counts, strict=True):
            known = [(self._number[g], n, self._idf[g]) for g, n in each.items() if g in self._idf]
            if not known:
                continue
            at, number, idf = zip(*known, strict=True)
            values = (1 + torch.tensor(number, dtype=torch.float32).log()) * torch.tensor(idf)
            row[list(at)] = values / values.norm()
        return rows


def likeness(texts: Sequence[str]) -> torch.Tensor:
    """How alike any two texts are spelt, (texts x texts): cosine of their TF-IDF, from 0 to 1."""
    counts = [_grams(text) for text in texts]
    documents = Counter(gram for each in counts for gram in each)
    number = {gram: at for at, gram in enumerate(documents)}
    rows = torch.zeros(len(counts), len(number), dtype=torch.float64)
    for row, each in zip(rows, counts, strict=True):
        for gram, found in each.items():
            idf = math.log((1 + len(texts)) / (1 + documents[gram])) + 1
            row[number[gram]] = (1 + math.log(found)) * idf
    rows = torch.nn.functional.normalize(rows, dim=1)
    return rows @ rows.T


def _grams(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for word in text.lower().split():
        padded = f" {word} "
        for size in _SIZES:
            found.update(padded[at : at + size] for at in range(len(padded) - size + 1))
    return found


def _fit(kernel: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Duals (texts x classes) and bias that minimise the penalised log loss."""
    kernel = kernel.double()
    texts, voices = len(classes), len(VOICES)
    per_class = torch.bincount(classes, minlength=voices).clamp(min=1).double()
    weights = (texts / (voices * per_class))[classes]
    duals = torch.zeros(texts, voices, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(voices, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [duals, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        spoken = kernel @ duals
        losses = torch.nn.functional.cross_entropy(spoken + bias, classes, reduction="none")
        penalty = (duals * spoken).sum() / (2 * _INVERSE_PENALTY)
        total = (losses * weights).sum() + penalty
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(loss)
    return duals.detach().float(), bias.detach().float()
