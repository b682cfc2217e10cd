"""The networks of the record, by the facts that describe them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lr_record.net import ACTIVATIONS, Layer, Net

__all__ = ["build"]


def build(facts: Mapping[str, Any]) -> tuple[Net, Layer]:
    """Return a network and its forward pass: inputs (K, N, …) to outputs (K, N, outputs), or (K, N · length, outputs).

    Args:
        facts: Of the task: ``model`` and what it needs.
    """
    net = Net(facts["init"], facts.get("lora", 0), facts.get("lora_scale", 1.0))
    net.new_head = facts.get("start") == "new head"
    maker = {
        "mlp": _mlp,
        "autoencoder": _autoencoder,
        "cnn": _cnn,
        "vit": _patches,
        "mixer": _patches,
        "char-mlp": _char_mlp,
        "gpt": _gpt,
        "gru": _recurrent,
        "lstm": _recurrent,
    }[facts["model"]]
    return net, maker(net, facts)


def _chain(layers: list[Layer]) -> Layer:
    def forward(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x)
        return x

    return forward


def _residual(inner: Layer) -> Layer:
    return lambda x: x + inner(x)


def _hidden(net: Net, fan_in: int, width: int, facts: Mapping[str, Any]) -> Layer:
    """Return linear, norm, activation and dropout; skipped over if asked for and possible."""
    layers: list[Layer] = [net.linear(fan_in, width), net.norm(facts["norm"], width)]
    inner = _chain([*layers, ACTIVATIONS[facts["activation"]], net.dropout(facts["dropout"])])
    return _residual(inner) if facts["residual"] and fan_in == width else inner


def _stack(net: Net, fan_in: int, facts: Mapping[str, Any]) -> list[Layer]:
    layers: list[Layer] = []
    for _ in range(facts["depth"]):
        layers.append(_hidden(net, fan_in, facts["width"], facts))
        fan_in = facts["width"]
    return [*layers, net.linear(fan_in, facts["outputs"], "output")]


def _mlp(net: Net, facts: Mapping[str, Any]) -> Layer:
    return _chain(_stack(net, facts["inputs"], facts))


def _autoencoder(net: Net, facts: Mapping[str, Any]) -> Layer:
    width, code, act = facts["width"], facts["code"], ACTIVATIONS[facts["activation"]]
    if facts["depth"] == 1:
        return _chain([net.linear(facts["inputs"], code), act, net.linear(code, facts["outputs"], "output")])
    encoder = [_hidden(net, facts["inputs"], width, facts), net.linear(width, code), act]
    return _chain([*encoder, _hidden(net, code, width, facts), net.linear(width, facts["outputs"], "output")])


def _char_mlp(net: Net, facts: Mapping[str, Any]) -> Layer:
    embed = net.embedding(facts["vocabulary"], facts["embedding"])
    rest = _chain(_stack(net, facts["length"] * facts["embedding"], facts))
    return lambda ids: rest(embed(ids).flatten(2))


def _cnn(net: Net, facts: Mapping[str, Any]) -> Layer:
    side, width, act = facts["side"], facts["width"], ACTIVATIONS[facts["activation"]]
    blocks, channels = [], 1
    for _ in range(facts["depth"]):
        blocks.append((net.convolution(channels, width, side), net.norm(facts["norm"], width)))
        channels, side = width, side // 2
    drop, head = net.dropout(facts["dropout"]), net.linear(width * side * side, facts["outputs"], "output")

    def forward(x: Tensor) -> Tensor:
        members, count = x.shape[:2]
        maps = x.transpose(0, 1).reshape(count, members, facts["side"], facts["side"])
        for convolution, norm in blocks:
            maps = convolution(maps)
            if facts["norm"] != "none":
                apart = maps.view(count, members, width, *maps.shape[2:]).permute(1, 0, 3, 4, 2)
                maps = norm(apart).permute(1, 0, 4, 2, 3).reshape(maps.shape)
            maps = F.avg_pool2d(act(maps), 2)
        return head(drop(maps.reshape(count, members, -1).transpose(0, 1)))

    return forward


def _attention(net: Net, width: int, heads: int, length: int, *, causal: bool) -> Layer:
    into, out = net.linear(width, 3 * width, uses=length), net.linear(width, width, uses=length)
    net.multiplications += 2 * length * length * width

    def layer(x: Tensor) -> Tensor:
        parts = into(x).view(-1, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=causal)
        return out(mixed.transpose(1, 2).reshape(x.shape))

    return layer


def _feed_forward(net: Net, width: int, hidden: int, act: Layer, uses: int) -> Layer:
    return _chain([net.linear(width, hidden, uses=uses), act, net.linear(hidden, width, uses=uses)])


def _mixing(net: Net, width: int, length: int, act: Layer) -> Layer:
    inner = _feed_forward(net, length, 2 * length, act, width)
    return lambda x: inner(x.transpose(2, 3)).transpose(2, 3)


def _block(net: Net, facts: Mapping[str, Any], length: int) -> list[Layer]:
    """Return one block of a transformer or mixer: tokens are mixed, then features; the norm is before or after."""
    width, act, drop = facts["width"], ACTIVATIONS[facts["activation"]], net.dropout(facts["dropout"])
    layers: list[Layer] = []
    for place in ("tokens", "features"):
        norm: Layer = net.layer_norm(width) if facts["norm"] == "layer" else (lambda x: x)
        if place == "features":
            inner = _feed_forward(net, width, 2 * width, act, length)
        elif facts["model"] == "mixer":
            inner = _mixing(net, width, length, act)
        else:
            inner = _attention(net, width, facts["heads"], length, causal=facts["model"] == "gpt")
        after = facts["norm_place"] == "after"
        layers += [_residual(_chain([inner, drop])), norm] if after else [_residual(_chain([norm, inner, drop]))]
    return layers


def _blocks(net: Net, facts: Mapping[str, Any], length: int) -> Layer:
    layers = [layer for _ in range(facts["depth"]) for layer in _block(net, facts, length)]
    last: Layer = net.layer_norm(facts["width"]) if facts["norm"] == "layer" else (lambda x: x)
    return _chain([*layers, last])


def _patches(net: Net, facts: Mapping[str, Any]) -> Layer:
    side, patch, width = facts["side"], facts["patch"], facts["width"]
    length = (side // patch) ** 2
    into, place = net.linear(patch * patch, width, uses=length), net.positions(length, width)
    blocks, head = _blocks(net, facts, length), net.linear(width, facts["outputs"], "output")

    def forward(x: Tensor) -> Tensor:
        across = side // patch
        tiles = x.view(*x.shape[:2], across, patch, across, patch).transpose(3, 4)
        return head(blocks(place(into(tiles.reshape(*x.shape[:2], length, patch * patch)))).mean(dim=2))

    return forward


def _gpt(net: Net, facts: Mapping[str, Any]) -> Layer:
    length, width = facts["length"], facts["width"]
    embed, place = net.embedding(facts["vocabulary"], width), net.positions(length, width)
    blocks, head = _blocks(net, facts, length), net.linear(width, facts["outputs"], "output", uses=length)
    return lambda ids: torch.flatten(head(blocks(place(embed(ids)))), 1, 2)


def _recurrent(net: Net, facts: Mapping[str, Any]) -> Layer:
    length, width, fan_in = facts["length"], facts["width"], facts["embedding"]
    embed = net.embedding(facts["vocabulary"], fan_in)
    layers: list[Layer] = []
    for _ in range(facts["depth"]):
        layers += [net.recurrent(facts["model"], fan_in, width, length), net.dropout(facts["dropout"])]
        fan_in = width
    head = net.linear(width, facts["outputs"], "output", uses=length)
    return lambda ids: torch.flatten(head(_chain(layers)(embed(ids))), 1, 2)
