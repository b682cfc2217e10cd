"""Optimizers of other packages (``pip install "stepsize[optimizers]"``), imported when one is built."""

from __future__ import annotations

from functools import partial

from stepsize.optimizers.entry import OptimizerEntry, Packaged, adam_like

_from_many = partial(Packaged, "pytorch-optimizer", "pytorch_optimizer")
_schedule_free = partial(Packaged, "schedulefree", "schedulefree")
_dog = partial(Packaged, "dog-optimizer", "dog")
_lr_free = partial(
    OptimizerEntry,
    default_lr=1.0,
    lr_range=(1e-2, 100.0),
    range_source="a factor of its own estimate: two decades around 1",
    lr_free=True,
)
_SCHEDULE_FREE = "A. Defazio et al., The Road Less Scheduled, 2024"
_DOG = "M. Ivgi, O. Hinder, Y. Carmon, DoG is SGD's Best Friend, 2023"

PACKAGED = (
    OptimizerEntry(
        "lion", "Lion", _from_many("Lion"), 1e-4, (1e-6, 1e-2), "a third to a tenth of AdamW's (Chen et al., 2023)",
        "averaged", 0.9,
        source="X. Chen et al., Symbolic Discovery of Optimization Algorithms, 2023",
    ),
    OptimizerEntry(
        "lamb", "LAMB", _from_many("Lamb"), 1e-3, (1e-4, 1.0), "relative to the norm of the weights, so above Adam's",
        "averaged", 0.9,
        source="Y. You et al., Large Batch Optimization for Deep Learning, 2020",
    ),
    adam_like(
        "soap", "SOAP", _from_many("SOAP"), default_lr=3e-3, momentum_default=0.95,
        source="N. Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, 2024",
    ),
    OptimizerEntry(
        "shampoo", "Shampoo", _from_many("Shampoo", {"preconditioning_compute_steps": 1}), 1e-1, (1e-3, 10.0),
        "without grafting its first updates are like SGD's, so SGD's",
        source="V. Gupta, T. Koren, Y. Singer, Shampoo: Preconditioned Stochastic Tensor Optimization, 2018",
    ),
    adam_like(
        "adan", "Adan", _from_many("Adan"), momentum_default=0.98,
        source="X. Xie et al., Adan: Adaptive Nesterov Momentum Algorithm, 2022",
    ),
    adam_like(
        "adopt", "ADOPT", _from_many("ADOPT"),
        source="S. Taniguchi et al., ADOPT: Modified Adam Can Converge with Any β₂, 2024",
    ),
    adam_like(
        "ademamix", "AdEMAMix", _from_many("AdEMAMix"),
        source="M. Pagliardini, P. Ablin, D. Grangier, The AdEMAMix Optimizer, 2024",
    ),
    adam_like(
        "mars", "MARS", _from_many("MARS", rates=("lr", "lr_1d")), default_lr=3e-3, momentum_default=0.95,
        source="H. Yuan et al., MARS: Unleashing the Power of Variance Reduction, 2024",
    ),
    OptimizerEntry(
        "schedule-free-sgd", "schedule-free SGD", _schedule_free("SGDScheduleFree"), 1.0, (1e-2, 100.0),
        "10 to 50 times that of scheduled SGD (Defazio et al., 2024)", "averaged", 0.9, source=_SCHEDULE_FREE,
    ),
    adam_like(
        "schedule-free-adamw", "schedule-free AdamW", _schedule_free("AdamWScheduleFree"), default_lr=2.5e-3, like="",
        range_source="1 to 10 times that of scheduled AdamW (Defazio et al., 2024)", source=_SCHEDULE_FREE,
    ),
    _lr_free(
        "dadapt-adam", "D-Adapted Adam", Packaged("dadaptation", "dadaptation", "DAdaptAdam"),
        momentum="averaged", momentum_default=0.9,
        source="A. Defazio, K. Mishchenko, Learning-Rate-Free Learning by D-Adaptation, 2023",
    ),
    _lr_free(
        "prodigy", "Prodigy", Packaged("prodigyopt", "prodigyopt", "Prodigy", {"use_bias_correction": True}),
        momentum="averaged", momentum_default=0.9,
        source="K. Mishchenko, A. Defazio, Prodigy: An Expeditiously Adaptive Parameter-Free Learner, 2023",
    ),
    _lr_free("dog", "DoG, last iterate", _dog("DoG"), source=_DOG),
    _lr_free("ldog", "LDoG, last iterate", _dog("LDoG"), source=_DOG),
)  # fmt: skip
