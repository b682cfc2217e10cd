"""Splits, scaling, and the way in which windows and patches are cut."""

from __future__ import annotations

import torch

from stepsize.tasks.images import _blocks, _photo_patches
from stepsize.tasks.models import _Block
from stepsize.tasks.parts import BINARY_ACCURACY, sequence_loss, split_rows, standardize
from stepsize.tasks.tables import _encode as encode_categories
from stepsize.tasks.text import SYMBOLS, _contexts, _docs, _encode, _sequences, _windows


def test_split_is_a_partition_and_always_the_same() -> None:
    train, val = split_rows(101, 0.3)
    assert len(val) == 30
    assert sorted(torch.cat([train, val]).tolist()) == list(range(101))
    assert torch.equal(split_rows(101, 0.3)[1], val)
    assert val.tolist() != sorted(val.tolist())  # not merely the tail of the rows


def test_scaling_uses_training_rows_only_and_keeps_constant_columns_finite() -> None:
    train, val = torch.tensor([[0.0, 7.0], [4.0, 7.0]]), torch.tensor([[6.0, 9.0]])
    scaled, unseen = standardize(train, val)
    assert scaled.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert unseen.tolist() == [[2.0, 2.0]]


def test_sequence_loss_is_the_mean_over_all_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(3, 5, 7, generator=generator)
    target = torch.randint(7, (3, 5), generator=generator)
    naive = [-output[i, j].log_softmax(0)[target[i, j]] for i in range(3) for j in range(5)]
    torch.testing.assert_close(sequence_loss(output, target), torch.stack(naive).mean())


def test_binary_accuracy_counts_signs() -> None:
    accuracy = BINARY_ACCURACY["accuracy"].of(torch.tensor([2.0, -1.0, 3.0, -4.0]), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert float(accuracy) == 0.75


def test_text_keeps_ascii_straightens_quotes_and_drops_the_rest() -> None:
    assert _encode("a“b”\n~ °ß").tolist() == [ord(c) - 31 if c != "\n" else 0 for c in 'a"b"\n~ ']


def test_documentation_has_one_length_and_fits_the_vocabulary() -> None:
    symbols = _docs()
    assert len(symbols) == 400_000
    assert 0 <= int(symbols.min()) <= int(symbols.max()) < SYMBOLS


def test_windows_share_no_position() -> None:
    train, val = _windows(torch.arange(1_003), 10)
    assert sorted(torch.cat([train, val]).flatten().tolist()) == list(range(1_000))
    assert len(val) == 10


def test_sequences_are_followed_by_their_next_symbols() -> None:
    for x, y in _sequences(torch.arange(5_000), 12):
        assert x.shape == y.shape == (len(x), 12)
        assert torch.equal(x + 1, y)


def test_contexts_end_just_before_their_target_and_share_no_position_across_the_split() -> None:
    (x, y), (x_val, y_val) = _contexts(torch.arange(20_000), 4, 2)
    for contexts, targets in ((x, y), (x_val, y_val)):
        assert torch.equal(contexts, targets.unsqueeze(1) - torch.arange(4, 0, -1))
    assert not {*x.flatten().tolist(), *y.tolist()} & {*x_val.flatten().tolist(), *y_val.tolist()}


def test_a_picture_is_cut_into_whole_blocks() -> None:
    image = torch.arange(70 * 100 * 3).view(70, 100, 3)
    blocks = _blocks(image)
    assert blocks.shape == (2 * 3, 32, 32, 3)
    assert torch.equal(blocks[4], image[32:64, 32:64])


def test_photo_patches_are_real_colours_and_hide_the_middle() -> None:
    (x, y), (x_val, y_val) = _photo_patches()
    assert x.shape == (len(y), 72, 3)
    assert x_val.shape == (len(y_val), 72, 3)
    assert len(y) + len(y_val) == 2 * 13 * 20 * 40
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    nearest = x.mean(1)  # surroundings tell much of the middle, which is itself not among them
    assert 0.1 < float((nearest - y).abs().mean()) / float(y.std()) < 0.6


def test_unseen_categories_get_the_number_zero() -> None:
    rows = (("a", "x"), ("b", "x"), ("a", "y"), ("c", "x"))
    numbers, sizes = encode_categories(rows, torch.tensor([0, 1]))
    assert numbers.tolist() == [[1, 1], [2, 1], [1, 0], [0, 1]]
    assert sizes == [3, 2]


def test_attention_sees_the_past_only_and_agrees_with_torchs_own() -> None:
    torch.manual_seed(0)
    block = _Block(width=12, heads=3, dropout=0.0)
    x = torch.randn(2, 7, 12)
    parts = [part.view(2, 7, 3, 4).transpose(1, 2) for part in block.project_in(x).chunk(3, -1)]
    queries, keys, values = parts
    fused = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    torch.testing.assert_close(block._attend(x), block.project_out(fused.transpose(1, 2).flatten(2)))
