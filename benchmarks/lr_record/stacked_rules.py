"""Stacked updates of further optimizers, which only the record needs: thousands of short runs of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepsize.errors import NotStackableError
from stepsize.training.population.rules import RULES, Flags, StackedRule, State, Vectors


@final
class _Adafactor(StackedRule):
    numbers = ("beta2_decay", "eps1", "eps2", "d")
    flags = ("decoupled_weight_decay",)
    decays = True

    def read(self, group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
        first, second = group["eps"]
        own = {"eps1": math.nan if first is None else first, "eps2": second, "decoupled_weight_decay": True}
        return {**super().read(group, optimizer), **own}

    def begin(self, parameter: Tensor, vectors: Vectors, flags: Flags) -> State:
        del vectors, flags
        if parameter.dim() < 3:  # vectors and scalars: there is nothing to factorize
            return {"second": torch.zeros_like(parameter)}
        return {"rows": torch.zeros_like(parameter[..., :1]), "columns": torch.zeros_like(parameter[..., :1, :])}

    def rates(self, numbers: Vectors, lr: Tensor, count: int) -> Vectors:
        return {"weight": count ** numbers["beta2_decay"], "rate": lr.clamp(max=count**-0.5)}

    def update(self, parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
        del flags
        floor = torch.nan_to_num(vectors["eps1"], nan=torch.finfo(parameter.dtype).eps)  # NaN is torch's None
        rate = torch.maximum(vectors["eps2"], _root_mean_square(parameter)).mul_(vectors["rate"])
        if "shrink" in vectors:
            parameter.mul_(vectors["shrink"])
        second = self._second(gradient, state, vectors["weight"], floor)
        gradient.mul_(torch.maximum(second, floor.square(), out=second).rsqrt_())
        clipped = _root_mean_square(gradient).div_(vectors["d"]).clamp_(min=1.0)
        parameter.addcmul_(gradient, rate.div_(clipped), value=-1)

    def _second(self, gradient: Tensor, state: State, weight: Tensor, floor: Tensor) -> Tensor:
        """Average the squares of the gradient; of a matrix, only the means of its rows and columns are kept."""
        square = gradient.square()
        if "second" in state:
            return state["second"].lerp_(square, weight).clone()
        rows = state["rows"].lerp_(square.mean(dim=-1, keepdim=True), weight)
        columns = state["columns"].lerp_(square.mean(dim=-2, keepdim=True), weight)
        mean = rows.mean(dim=-2, keepdim=True)
        return torch.matmul(rows, columns, out=square).div_(torch.maximum(mean, floor))


def _root_mean_square(whole: Tensor) -> Tensor:
    """Return each member's, shape (K, 1, ...)."""
    flat = whole.reshape(len(whole), -1)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1) / math.sqrt(flat.shape[1])
    return norms.view(-1, *[1] * (whole.dim() - 1))


@final
class _Muon(StackedRule):
    numbers = ("momentum", "eps")
    flags = ("nesterov", "ns_coefficients", "ns_steps", "adjust_lr_fn", "decoupled_weight_decay")
    zeros = ("velocity",)

    def read(self, group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
        own = {"decoupled_weight_decay": True, "ns_coefficients": tuple(group["ns_coefficients"])}
        return {**super().read(group, optimizer), **own}

    def constants(self, numbers: Vectors) -> Vectors:
        return {**super().constants(numbers), "weight": 1 - numbers["momentum"]}

    def update(self, parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
        velocity = state["velocity"].lerp_(gradient, vectors["weight"])
        direction = gradient.lerp_(velocity, vectors["momentum"]) if flags["nesterov"] else velocity
        rows, columns = parameter.shape[1:]
        ratio = math.sqrt(max(1.0, rows / columns))
        if flags["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        orthogonal = self._orthogonal(direction, vectors["eps"], flags).to(parameter.dtype)
        parameter.addcmul_(orthogonal, vectors["descent"] * ratio)

    def _orthogonal(self, direction: Tensor, eps: Tensor, flags: Flags) -> Tensor:
        """Return the nearest orthogonal matrices, nearly: a Newton-Schulz iteration in bfloat16, as torch's own."""
        a, b, c = flags["ns_coefficients"]
        tall = direction.shape[1] > direction.shape[2]
        found = direction.bfloat16()
        found = found.mT if tall else found
        norm = torch.linalg.vector_norm(found, dim=(1, 2), keepdim=True)
        found = found / torch.maximum(norm, eps.to(norm.dtype))
        for _ in range(flags["ns_steps"]):
            gram = found @ found.mT
            found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
        return found.mT if tall else found


@final
class _Lion(StackedRule):
    numbers = ("beta1", "beta2")
    flags = ("decoupled_weight_decay", "fixed_decay")
    zeros = ("first",)

    def read(self, group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
        for option in ("use_gc", "adanorm", "cautious"):
            if group.get(option):
                raise NotStackableError(f"Lion with {option}=True has no stacked form")
        own = {
            "maximize": vars(optimizer).get("maximize", False),
            "decoupled_weight_decay": group["weight_decouple"],
            "fixed_decay": group["fixed_decay"] and group["weight_decouple"],
        }
        return {**super().read(group, optimizer), **own}

    def constants(self, numbers: Vectors) -> Vectors:
        return {"blend": 1 - numbers["beta1"], "weight": 1 - numbers["beta2"]}

    def update(self, parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
        del flags
        direction = state["first"].lerp(gradient, vectors["blend"]).sign_()
        state["first"].lerp_(gradient, vectors["weight"])
        parameter.addcmul_(direction, vectors["descent"])


ALL_RULES = RULES | {
    "torch.optim.Adafactor": _Adafactor(),
    "torch.optim.Muon": _Muon(),
    "pytorch_optimizer.optimizer.lion.Lion": _Lion(),
}
