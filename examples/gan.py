"""A GAN on a ring of points: two optimizers, two rates, one range test that sweeps both and keeps their ratio.

The loss of a GAN does not say how good its samples are. So the range test only shows where training diverges, and the
runs below are compared by how far the generated points are from the ring.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import stepsize
from stepsize import schedules

STEPS, BATCH = 700, 64


def ring(count: int) -> Tensor:
    """Points on a circle of radius 2, with a little noise."""
    angle = 2 * torch.pi * torch.rand(count)
    return 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(count, 2)


def network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2),
                         nn.Linear(64, outputs))  # fmt: skip


class Gan:
    """Generator, discriminator and their optimizers; the discriminator learns twice as fast."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.maker, self.judge = network(8, 2), network(2, 1)
        self.optimizers = (
            torch.optim.Adam(self.maker.parameters(), lr=1e-4, betas=(0.5, 0.999)),
            torch.optim.Adam(self.judge.parameters(), lr=2e-4, betas=(0.5, 0.999)),
        )

    def step(self, real: Tensor) -> Tensor:
        """Update the discriminator, then the generator; return the discriminator's loss."""
        making, judging = self.optimizers
        made = self.maker(torch.randn(len(real), 8))
        loss = F.softplus(-self.judge(real)).mean() + F.softplus(self.judge(made.detach())).mean()
        judging.zero_grad()
        loss.backward()
        judging.step()
        fooled = F.softplus(-self.judge(made)).mean()
        making.zero_grad()
        fooled.backward()
        making.step()
        return loss

    def train(self, multiplier: float) -> float:
        """Train at ``multiplier`` times the rates, linearly decayed; return how far its points are from the ring."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= multiplier
        bound = stepsize.bind(schedules.linear(), self.optimizers, steps=STEPS)  # one step counter for both
        for _ in range(STEPS):
            self.step(ring(BATCH))
            bound.step()
        with torch.no_grad():
            return float((self.maker(torch.randn(1_000, 8)).norm(dim=1) - 2).abs().mean())


def main() -> None:
    gan = Gan()
    batches = [ring(BATCH) for _ in range(300)]
    found = stepsize.range_test(gan.step, gan.optimizers, batches)
    print(f"suggested: both rates times {found.multiplier:.0f}. {found.status}")
    print(f"both networks and optimizers restored: {found.restored}")
    print("distance of generated points from the ring, both rates multiplied:")
    for multiplier in (1.0, 10.0, 100.0):
        print(f"  {multiplier:>5g} x  {Gan().train(multiplier):.3f}")


if __name__ == "__main__":
    main()
