"""The optimizers that torch brings."""

from __future__ import annotations

from functools import partial

import torch

from stepsize.optimizers.entry import ALGOPERF, OptimizerEntry, adam_like
from stepsize.optimizers.muon import MuonAdamW

_SGD = torch.optim.SGD
_SGD_RANGE = "AlgoPerf (Dahl et al., 2023) searches 0.02 to 5 with momentum; small models need less"
_ADAM = "D. Kingma, J. Ba, Adam: A Method for Stochastic Optimization, 2015"

NATIVE = (
    OptimizerEntry(
        "sgd", "SGD", _SGD, 0.1, (1e-3, 10.0), _SGD_RANGE, "heavy-ball",
        source="H. Robbins, S. Monro, A Stochastic Approximation Method, 1951",
    ),
    OptimizerEntry(
        "momentum", "SGD, momentum 0.9", partial(_SGD, momentum=0.9), 0.1, (1e-4, 1.0), _SGD_RANGE, "heavy-ball", 0.9,
        source="B. Polyak, Some methods of speeding up the convergence of iteration methods, 1964",
    ),
    OptimizerEntry(
        "nesterov", "SGD, Nesterov momentum 0.9", partial(_SGD, momentum=0.9, nesterov=True), 0.1, (1e-4, 1.0),
        _SGD_RANGE, "heavy-ball", 0.9, like="momentum",
        source="I. Sutskever et al., On the importance of initialization and momentum in deep learning, 2013",
    ),
    OptimizerEntry(
        "adagrad", "Adagrad", torch.optim.Adagrad, 1e-2, (1e-3, 1.0),
        "its own rate falls as 1/√t, so peaks are a decade above Adam's",
        source="J. Duchi, E. Hazan, Y. Singer, Adaptive Subgradient Methods, 2011",
    ),
    OptimizerEntry(
        "rmsprop", "RMSprop", torch.optim.RMSprop, 1e-2, (1e-5, 1e-1), ALGOPERF,
        source="T. Tieleman, G. Hinton, Lecture 6.5: RMSProp, 2012",
    ),
    OptimizerEntry(
        "adadelta", "Adadelta", torch.optim.Adadelta, 1.0, (1e-2, 100.0), "two decades around the 1.0 of Zeiler (2012)",
        source="M. Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012",
    ),
    adam_like("adam", "Adam", torch.optim.Adam, source=_ADAM),
    adam_like(
        "adamw", "AdamW", torch.optim.AdamW,
        source="I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization, 2019",
    ),
    adam_like(
        "nadam", "NAdam", torch.optim.NAdam, default_lr=2e-3,
        source="T. Dozat, Incorporating Nesterov Momentum into Adam, 2016",
    ),
    adam_like(
        "radam", "RAdam", torch.optim.RAdam,
        source="L. Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020",
    ),
    adam_like("adamax", "Adamax", torch.optim.Adamax, default_lr=2e-3, source=_ADAM),
    # Update t goes no faster than 1/√t, and relative to the weights' size: small models need large peaks.
    OptimizerEntry(
        "adafactor", "Adafactor", torch.optim.Adafactor, 1e-2, (1e-4, 1.0), ALGOPERF,
        source="N. Shazeer, M. Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018",
    ),
    adam_like(
        "muon", "Muon, AdamW for non-matrix parameters", MuonAdamW, momentum_default=0.95, like="",
        range_source="scaled to AdamW's updates (Liu et al., 2025), so AdamW's",
        source="K. Jordan, Muon: An optimizer for hidden layers in neural networks, 2024",
    ),
)  # fmt: skip
