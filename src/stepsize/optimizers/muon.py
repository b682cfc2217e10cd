"""Muon for matrices, with AdamW for other parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer


@final
class MuonAdamW(Optimizer):
    """Muon on parameters of two dimensions and AdamW on the others, at one rate.

    Muon's orthogonal update is scaled by 0.2 √max(rows, columns), so that the root mean square of its elements is that
    of AdamW's: one lr serves both. Every group that is given becomes up to two, one for each rule. Embeddings and
    output layers, which Muon's authors leave to AdamW, cannot be distinguished from other matrices here: give them as a
    group with ``"muon": False``.

    Example:
        >>> layer = torch.nn.Linear(4, 3)
        >>> optimizer = MuonAdamW(layer.parameters(), lr=1e-3)
        >>> [(group["muon"], len(group["params"])) for group in optimizer.param_groups]
        [(True, 1), (False, 1)]

    Source: K. Jordan, Muon: An optimizer for hidden layers in neural networks, 2024; J. Liu et al., Muon is Scalable
    for LLM Training, 2025 (the scale).
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.1) -> None:
        super().__init__(_split(params), {"lr": lr, "weight_decay": weight_decay, "muon": False})
        for group in self.param_groups:
            for key, value in _rule(group["muon"]).defaults.items():
                group.setdefault(key, value)

    def step(self, closure: Any = None) -> Any:
        """Make one update; ``closure`` recomputes loss and gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for matrices in (True, False):
            groups = [group for group in self.param_groups if group["muon"] is matrices]
            if groups:
                self._lend(matrices, groups)
        return loss

    def _lend(self, matrices: bool, groups: list[dict[str, Any]]) -> None:
        """Let torch's own rule update ``groups``, with this optimizer's state as its state."""
        rules: dict[bool, Optimizer] = self.__dict__.setdefault("_rules", {})  # not there in a copy
        if matrices not in rules:
            rules[matrices] = _rule(matrices)
        rule = rules[matrices]
        rule.param_groups, rule.state = groups, self.state
        rule.step()


def _rule(matrices: bool) -> Optimizer:
    """Return torch's own optimizer for matrices, or for other parameters, around a parameter that stands for them."""
    parameter = torch.nn.Parameter(torch.zeros(1, 1))
    if matrices:
        return Muon([parameter], adjust_lr_fn="match_rms_adamw")
    return AdamW([parameter], betas=(0.9, 0.95), eps=1e-10)


def _split(params: Iterable[Any]) -> list[dict[str, Any]]:
    """Return groups that hold either matrices or others."""
    given = list(params)
    groups = given if given and isinstance(given[0], dict) else [{"params": given}]
    found = []
    for group in groups:
        members = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        allowed = group.get("muon", True)
        for matrices in (True, False):
            chosen = [p for p in members if (allowed and _is_matrix(p)) is matrices]
            if chosen:
                found.append({**group, "params": chosen, "muon": matrices})
    return found


def _is_matrix(parameter: Any) -> bool:
    tensor = parameter[1] if isinstance(parameter, tuple) else parameter  # (name, parameter)
    return isinstance(tensor, Tensor) and tensor.ndim == 2
