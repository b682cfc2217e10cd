"""Tasks on text: predict the next character of Python's documentation, or of plays."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stepsize.errors import DataUnavailableError
from stepsize.tasks.models import CharGRU, CharMLP, CharTransformer
from stepsize.tasks.parts import ACCURACY, Parts, sequence_loss, split_rows

SHAKESPEARE_FILES = ("tinyshakespeare.txt",)
SYMBOLS = 96
"""The vocabulary: a new line is 0, the printable ASCII characters from blank to tilde are 1 ... 95."""
_DOCS_LENGTH = 400_000  # every Python has at least this much, so that the split is the same everywhere
_VAL_WINDOWS = 256
_TYPOGRAPHY = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": ".", "\t": " "})


def _encode(text: str) -> Tensor:
    """Return the symbol numbers of ``text``; what lies outside the vocabulary is left out."""
    codes = np.frombuffer(text.translate(_TYPOGRAPHY).encode("ascii", "ignore"), np.uint8).astype(np.int64)
    codes = np.where(codes == ord("\n"), 31, codes)
    return torch.from_numpy(codes[(codes >= 31) & (codes < 127)] - 31)


@cache
def _docs() -> Tensor:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:  # some distributions package it apart
        raise DataUnavailableError("This Python lacks its documentation module pydoc_data.topics") from error
    return _encode("\n\n".join(topics[name] for name in sorted(topics)))[:_DOCS_LENGTH]


@cache
def _plays(path: Path) -> Tensor:
    try:
        return _encode(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataUnavailableError(f"{path} is not the text that it should be: {error}") from error


def _windows(symbols: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return (train, val) windows of ``length`` symbols, shape (n, length), that share no symbol."""
    windows = symbols[: len(symbols) // length * length].view(-1, length)
    train, val = split_rows(len(windows), 0.1)
    return windows[train], windows[val]


def _sequences(symbols: Tensor, context: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return (train, val), each (symbols, the symbols that follow them), both (n, context)."""
    train, val = _windows(symbols, context + 1)
    val = val[:_VAL_WINDOWS]
    return (train[:, :-1], train[:, 1:]), (val[:, :-1], val[:, 1:])


def _contexts(symbols: Tensor, context: int, stride: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return (train, val), each (the last symbols (n, context), the next one (n,))."""
    both = []
    for windows in _windows(symbols, 16 * context):
        cut = windows.unfold(1, context + 1, stride).flatten(0, 1)
        both.append((cut[:, :-1].contiguous(), cut[:, -1].contiguous()))
    (x, y), (x_val, y_val) = both
    return (x, y), (x_val[: 16 * _VAL_WINDOWS], y_val[: 16 * _VAL_WINDOWS])


def docs_chars_mlp() -> Parts:
    """Return a network that reads the last 16 characters."""
    train, val = _contexts(_docs(), 16, 4)
    return Parts(partial(CharMLP, SYMBOLS, 16, 16, (256, 256)), nn.functional.cross_entropy, train, val, ACCURACY)


def docs_chars_gpt() -> Parts:
    """Return a transformer over 32 characters."""
    train, val = _sequences(_docs(), 32)
    return Parts(partial(CharTransformer, SYMBOLS, 32, 64, 4, 2), sequence_loss, train, val, ACCURACY)


def docs_chars_gru() -> Parts:
    """Return a recurrent network over 32 characters, its gradient clipped."""
    train, val = _sequences(_docs(), 32)
    return Parts(partial(CharGRU, SYMBOLS, 32, 96), sequence_loss, train, val, ACCURACY, clip=1.0)


def shakespeare_gpt(plays: Path) -> Parts:
    """Return a transformer with dropout over 48 characters, its gradient clipped."""
    train, val = _sequences(_plays(plays), 48)
    model = partial(CharTransformer, SYMBOLS, 48, 48, 3, 2, dropout=0.1)
    return Parts(model, sequence_loss, train, val, ACCURACY, clip=1.0)
