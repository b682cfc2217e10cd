"""Your own loop: a range test of the loop as it is, then a run at the suggested rate, watched during training.

Handwritten digits, a small network, SGD with momentum. The loop does not change for stepsize.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import stepsize
from stepsize import schedules

EPOCHS, BATCH = 12, 64


def main() -> None:
    torch.manual_seed(0)
    images, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(digits)
    x, y, unseen_x, unseen_y = x[:1_400], y[:1_400], x[1_400:], y[1_400:]

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(batch: Tensor) -> Tensor:
        loss = F.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    batches = [batch for _ in range(EPOCHS) for batch in torch.randperm(len(x)).split(BATCH)]
    found = stepsize.range_test(step, optimizer, batches)
    print(f"loss falls from {found.low:.2g}, rises from {found.high:.2g}; suggested: {found.lr:.2g}. {found.status}")
    print(f"state restored exactly: {found.restored}")

    bound = stepsize.bind(schedules.cosine(warmup="5%"), optimizer, lr=found.lr, steps=len(batches))
    with stepsize.watch(model, optimizer, schedule=bound, steps=len(batches)) as watching:
        for batch in batches:
            watching.step(step(batch))
            bound.step()
    accuracy = (model(unseen_x).argmax(1) == unseen_y).float().mean()
    print(f"validation accuracy: {accuracy:.1%}")
    print(f"learning rate: {watching.verdict.code}")


if __name__ == "__main__":
    main()
