"""The optimizers that torch brings."""

from __future__ import annotations

from functools import partial

import torch

from stepsize.optimizers.entry import ALGOPERF, OptimizerEntry, adam_like
from stepsize.optimizers.muon import MuonAdamW

__all__ = ["NATIVE"]

_SGD = torch.optim.SGD
_SGD_RANGE = "AlgoPerf (Dahl et al., 2023) searches 0.02 to 5 with momentum; small models want less"

NATIVE = (
    OptimizerEntry(
        name="sgd",
        title="SGD",
        make=_SGD,
        default_lr=0.1,
        lr_range=(1e-3, 10.0),
        range_source=_SGD_RANGE,
        momentum="heavy-ball",
        decoupled=False,
        source="H. Robbins, S. Monro, A Stochastic Approximation Method, 1951",
    ),
    OptimizerEntry(
        name="momentum",
        title="SGD, momentum 0.9",
        make=partial(_SGD, momentum=0.9),
        default_lr=0.1,
        lr_range=(1e-4, 1.0),
        range_source=_SGD_RANGE,
        momentum="heavy-ball",
        momentum_default=0.9,
        decoupled=False,
        memory=1,
        source="B. Polyak, Some methods of speeding up the convergence of iteration methods, 1964",
    ),
    OptimizerEntry(
        name="nesterov",
        title="SGD, Nesterov momentum 0.9",
        make=partial(_SGD, momentum=0.9, nesterov=True),
        default_lr=0.1,
        lr_range=(1e-4, 1.0),
        range_source=_SGD_RANGE,
        momentum="heavy-ball",
        momentum_default=0.9,
        decoupled=False,
        memory=1,
        source="I. Sutskever et al., On the importance of initialization and momentum in deep learning, 2013",
    ),
    OptimizerEntry(
        name="adagrad",
        title="Adagrad",
        make=torch.optim.Adagrad,
        default_lr=1e-2,
        lr_range=(1e-3, 1.0),
        range_source="its rate falls as 1/√t by itself, so that peaks lie a decade above Adam's",
        decoupled=False,
        memory=1,
        source="J. Duchi, E. Hazan, Y. Singer, Adaptive Subgradient Methods, 2011",
    ),
    OptimizerEntry(
        name="rmsprop",
        title="RMSprop",
        make=torch.optim.RMSprop,
        default_lr=1e-2,
        lr_range=(1e-5, 1e-1),
        range_source=ALGOPERF,
        decoupled=False,
        memory=1,
        source="T. Tieleman, G. Hinton, Lecture 6.5: RMSProp, 2012",
    ),
    OptimizerEntry(
        name="adadelta",
        title="Adadelta",
        make=torch.optim.Adadelta,
        default_lr=1.0,
        lr_range=(1e-2, 100.0),
        range_source="two decades around the 1.0 of Zeiler (2012)",
        decoupled=False,
        memory=2,
        source="M. Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012",
    ),
    adam_like(
        name="adam",
        title="Adam",
        make=torch.optim.Adam,
        source="D. Kingma, J. Ba, Adam: A Method for Stochastic Optimization, 2015",
    ),
    adam_like(
        name="adamw",
        title="AdamW",
        make=torch.optim.AdamW,
        decoupled=True,
        source="I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization, 2019",
    ),
    adam_like(
        name="nadam",
        title="NAdam",
        make=torch.optim.NAdam,
        default_lr=2e-3,
        source="T. Dozat, Incorporating Nesterov Momentum into Adam, 2016",
    ),
    adam_like(
        name="radam",
        title="RAdam",
        make=torch.optim.RAdam,
        source="L. Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020",
    ),
    adam_like(
        name="adamax",
        title="Adamax",
        make=torch.optim.Adamax,
        default_lr=2e-3,
        source="D. Kingma, J. Ba, Adam: A Method for Stochastic Optimization, 2015",
    ),
    OptimizerEntry(
        name="adafactor",
        title="Adafactor",
        make=torch.optim.Adafactor,
        default_lr=1e-2,
        # Update t goes no faster than 1/√t, and relative to the weights' size: small models want large peaks.
        lr_range=(1e-4, 1.0),
        range_source=ALGOPERF,
        decoupled=True,
        memory=2 / 64,
        source="N. Shazeer, M. Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018",
    ),
    adam_like(
        name="muon",
        title="Muon, AdamW for what is no matrix",
        make=MuonAdamW,
        range_source="scaled to AdamW's updates (Liu et al., 2025), so AdamW's",
        momentum_default=0.95,
        decoupled=True,
        memory=1,
        source="K. Jordan, Muon: An optimizer for hidden layers in neural networks, 2024",
    ),
)
