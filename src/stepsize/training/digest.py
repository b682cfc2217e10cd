"""A digest of nested state, bit for bit: what proves that a state is as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def digest(state: Any) -> str:
    """Return the SHA-256 of nested mappings and sequences of tensors, arrays and plain values, in hex.

    Tensors enter with dtype, shape and bytes (a NaN equals itself), mappings in their own order.
    """
    sha = hashlib.sha256()
    _feed(sha, state)
    return sha.hexdigest()


def _feed(sha: hashlib._Hash, value: Any) -> None:
    if isinstance(value, Tensor):
        _feed_tensor(sha, value.detach())
    elif isinstance(value, np.ndarray | np.generic):
        sha.update(f"array{value.dtype}{value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        sha.update(f"map{len(value)}".encode())
        for key, item in value.items():
            sha.update(repr(key).encode() if isinstance(key, str | int | float | tuple) else str(type(key)).encode())
            _feed(sha, item)
    elif isinstance(value, list | tuple):
        sha.update(f"seq{len(value)}".encode())
        for item in value:
            _feed(sha, item)
    elif isinstance(value, bytes):
        sha.update(value)
    else:
        sha.update(_plain(value).encode())


def _feed_tensor(sha: hashlib._Hash, tensor: Tensor) -> None:
    sha.update(f"tensor{tensor.dtype}{tuple(tensor.shape)}".encode())
    if tensor.layout == torch.sparse_coo:
        _feed_tensor(sha, tensor._indices())
        _feed_tensor(sha, tensor._values())
        return
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        sha.update(repr(tensor).encode())
        return
    flat = tensor.cpu().contiguous().reshape(-1)
    if flat.numel():
        sha.update(flat.view(torch.uint8).numpy().data)  # the bytes themselves, not a copy


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | complex | str):
        return f"{type(value).__name__}{value!r}"
    # Functions and foreign objects: identity of type only, since an address is no state.
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
