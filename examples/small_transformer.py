"""A small transformer on characters: find its peak rate, then compare schedules at that rate.

The text is Python's own documentation of its topics, so nothing is downloaded.
"""

from __future__ import annotations

import pydoc_data.topics

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import stepsize
from stepsize import schedules

CONTEXT, WIDTH, STEPS, BATCH = 32, 48, 150, 16


class Transformer(nn.Module):
    """Two blocks, causal, pre-norm."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.letters = nn.Embedding(letters, WIDTH)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, letters)

    def forward(self, text: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
        hidden = self.letters(text) + self.places.weight
        return self.head(self.blocks(hidden, mask=mask, is_causal=True))


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def data() -> tuple[int, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the size of the alphabet and two sets of (text, text shifted by one letter)."""
    text = "".join(list(pydoc_data.topics.topics.values())[:30])
    alphabet = sorted(set(text))
    codes = torch.tensor([alphabet.index(letter) for letter in text])
    rows = codes[: len(codes) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    seen, unseen = rows[256:], rows[:256]
    return len(alphabet), (seen[:, :-1], seen[:, 1:]), (unseen[:, :-1], unseen[:, 1:])


def main() -> None:
    letters, train, val = data()

    def task(schedule: schedules.Schedule) -> stepsize.Task:
        return stepsize.Task(
            model=lambda: Transformer(letters), loss=loss, train=train, val=val, optimizer="adamw",
            schedule=schedule, steps=STEPS, batch_size=BATCH, clip=1.0, name="small transformer",
        )  # fmt: skip

    first = task(schedules.cosine(warmup="10%"))
    found = stepsize.find(first, budget=1)
    assert found.lr is not None
    low, high = found.as_good or (found.lr, found.lr)
    print(f"peak rate {found.lr:.2g} ({low:.2g} to {high:.2g}) for {found.cost.full_runs:.2f} full runs")
    print(found.answer)
    print("validation loss at that rate:")
    for name, schedule in (("cosine", first.schedule), ("wsd", schedules.wsd(warmup="10%", cooldown="20%"))):
        run = stepsize.train(task(schedule), found.lr)
        print(f"  {name}: {run.val_loss:.3f}")
    print(f"  cosine at a tenth of it: {stepsize.train(first, found.lr / 10).val_loss:.3f}")


if __name__ == "__main__":
    main()
