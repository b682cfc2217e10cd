"""The statements, and for each the rule that decides it: written down and committed before anything was measured.

All effects are paired by seed and have a 95% Student interval over five seeds or more; a diverged run counts with the
loss at initialization. ``parts`` says where the interval must be for a case (mostly: a task with an optimizer) to agree
with the statement. The verdicts follow from the counts: see ``HOW``. Only the wording was changed later.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HOW", "RULES", "Rule"]

HOW = """\
A case (a task with an optimizer, or a method) agrees with a part of a statement if the 95% interval of every test is
entirely on the side that the rule requires. A part is **confirmed** if all cases agree. It is **confirmed under these
conditions** if at least half of the cases agree and fewer show the opposite, or if all cases agree that have a common
property known before (the optimizer; fewer than 1,000 training examples or more; the method; the schedule), on at least
three tasks. Otherwise it is **not confirmed**. A statement is confirmed if all its parts are, not confirmed if none is
even under conditions, and otherwise confirmed under these conditions."""


@dataclass(frozen=True)
class Rule:
    """How a statement is decided.

    Attributes:
        number: Of the statement.
        statement: As it is commonly stated.
        title: In few words.
        measured: What is trained or read.
        parts: For each part of the statement, what decides.
    """

    number: int
    statement: str
    title: str
    measured: str
    parts: dict[str, str]


_TRUTH = (
    "Ground truth (12 tasks × 2 optimizers, full runs at about 25 rates, 5 to 9 seeds; for each seed the best "
    "rate "
    "is chosen by the other seeds)"
)
_AROUND = "runs of 4 tasks × 2 optimizers at multiples of the best rate, with new seeds"

_RULES = (
    Rule(
        1,
        "The learning rate sets how far each update moves the weights; in SGD the step is lr times the minibatch "
        "gradient.",
        "The size of an update",
        "From the same weights, optimizer state and batch after 40 steps, one step at 0.1, 1 and 10 times the "
        "rate; "
        "4 tasks × 5 optimizers, at a constant rate.",
        {
            "the rate sets how far": "d log(norm of the step) / d log(rate) is within 0.99 … 1.01",
            "in SGD, lr times the gradient": "|step + lr · gradient| / |lr · gradient| is below 1% at all three "
            "rates, "
            "for plain SGD",
        },
    ),
    Rule(
        2,
        "Too high: training becomes unstable, oscillates, overshoots, diverges.",
        "Too high",
        f"{_TRUTH}; {_AROUND}.",
        {
            "ends worse": "log(final validation loss at 10 times the best rate / at the best rate) is above 0",
            "overshoots": "the fraction of steps that raise the loss of their own batch is larger at 10 times the "
            "best rate",
        },
    ),
    Rule(
        3,
        "Too low: training is slow, or stays in a poor solution.",
        "Too low",
        f"{_TRUTH}; {_AROUND}, with SGD-momentum also four times as long.",
        {
            "ends worse": "log(final validation loss at a tenth of the best rate / at the best rate) is above 0",
            "is slow": "at a tenth of the rate, log(loss after four times the time / after the usual time) is below 0",
            "stays in a poor solution": "log(loss at a tenth of the rate after four times the time / at the best "
            "rate "
            "after the usual time) is above 0",
        },
    ),
    Rule(
        4,
        "A well-chosen rate reaches a good solution within a reasonable time.",
        "Well chosen",
        f"{_AROUND}, and with a quarter of the time (its own full decay).",
        {
            "faster than a low rate": "log(validation loss at the best rate after a quarter of the time / at a tenth "
            "of the rate "
            "after the whole time) is below 0",
            "faster than a high rate": "the same against ten times the rate",
        },
    ),
    Rule(
        5,
        "Adaptive methods (AdaGrad, RMSprop, Adam) set per-parameter step sizes from past gradients; "
        "a fixed rate stays as it is.",
        "Per-parameter steps",
        "Effective step of each weight, the sum of |step| over the sum of |gradient| in 20 steps; 4 tasks.",
        {
            "adaptive: per parameter": "the 10th and the 90th percentile of the weights are more than 0.3 "
            "decades "
            "(a factor of two) apart",
            "adaptive: from past gradients": "Spearman's correlation with the weight's root mean square gradient in "
            "the 40 "
            "steps before is below -0.5",
            "fixed: the same for all": "for plain SGD the spread is below 0.01 decades",
        },
    ),
    Rule(
        6,
        "Adaptive methods cope better with non-stationary problems and noisy gradients than a fixed rate.",
        "Noise and drift",
        "RMSprop against SGD and Adam against SGD-momentum (like with like), constant rates, each tuned for the "
        "condition; "
        "3 tasks, batches of an eighth (noise) and inputs that rotate by 90° (distribution shift); 150 steps.",
        {
            "noisy gradients": "log(validation loss, adaptive / fixed) is below 0",
            "non-stationary": "log(validation loss, adaptive / fixed) is below 0",
        },
    ),
    Rule(
        7,
        "Decaying the rate (step, exponential, linear) improves convergence, damps oscillation and finds better "
        "solutions "
        "than a constant.",
        "Decay",
        "Each schedule and the constant at its own tuned peak: 4 tasks with SGD-momentum, 300 steps, and the "
        "record of "
        "`by-schedule` (3 tasks, full length).",
        {
            "better solutions": "log(final validation loss, decayed / constant) is below 0",
            "damps oscillation": "log(root mean square change of the log validation loss between eight evaluations in "
            "the last fifth, "
            "decayed / constant) is below 0",
        },
    ),
    Rule(
        8,
        "Momentum (classical, Nesterov) accelerates convergence, damps oscillation and helps past local minima; "
        "rate and momentum interact.",
        "Momentum",
        "SGD without, with classical and with Nesterov momentum 0.9, each at its own tuned constant rate, 3 tasks, "
        "150 "
        "steps; and descent on 3 functions with many minima (200 random starts per seed, each at its own tuned "
        "rate).",
        {
            "accelerates": "log(validation loss after 150 steps, with / without momentum) is below 0",
            "damps oscillation": "the fraction of steps that raise the loss of their batch is smaller with momentum",
            "past local minima": "the fraction of starts that end in the lowest minimum is larger with momentum 0.9",
            "rate and momentum interact": "with momentum, log(loss at the rate tuned without / at its own tuned "
            "rate) is "
            "above 0",
        },
    ),
    Rule(
        9,
        "A range test, grid search, random search and automated search find a good rate.",
        "Searching",
        "The records of `regret` (each tool on 24 tasks × optimizers) and `searches` (searches of full runs "
        "replayed on the "
        "ground truth). The effect is the median over the 24 of the mean regret; its interval is from a bootstrap.",
        {
            "range test": "the interval of the median regret is below 10%",
            "grid search": "the interval of the median regret is below 10%",
            "random search": "the interval of the median regret is below 10%",
            "automated search": "the interval of the median regret is below 10%",
        },
    ),
    Rule(
        10,
        "A high rate leads to overfitting; a small one to underfitting.",
        "Overfitting and underfitting",
        f"{_TRUTH}; runs that diverged, and places with fewer than five seeds left, are left out.",
        {
            "high: overfitting": "at the highest rate within 3 to 10 times the best at which no seed diverged, the "
            "gap "
            "(validation - training loss, over the best validation loss) is larger, the validation loss is higher, and "
            "the training loss "
            "is not higher",
            "small: underfitting": "at a tenth of the best rate both training loss and validation loss are higher",
        },
    ),
    Rule(
        11,
        "The rate influences how well the model does on new data; choose it by that.",
        "New data",
        f"{_TRUTH}; the choice is made on the other seeds.",
        {
            "influences validation loss": "log(validation loss three times below or above the best rate, whichever is "
            "worse on the "
            "other seeds / at the best rate) is above 0",
            "choose it by validation loss": "log(validation loss at the rate with the lowest training loss / at the "
            "rate with the "
            "lowest validation loss) is above 0",
        },
    ),
    Rule(
        12,
        "The best rate depends on the data: its scale, noise, size, batch size.",
        "Data",
        "SGD-momentum, 3 tasks, 150 steps, cosine; the best rate of each seed, from the parabola through the "
        "lowest of a grid 0.3 "
        "decades apart; one thing changed: inputs × 10, noisy targets (30% of labels shuffled, or noise as large "
        "as the "
        "target), a quarter of the examples, batches of an eighth.",
        {
            "scale": "the shift of log10(best rate) differs from 0",
            "noise": "the shift of log10(best rate) differs from 0",
            "size": "the shift of log10(best rate) differs from 0",
            "batch size": "the shift of log10(best rate) differs from 0",
        },
    ),
    Rule(
        13,
        "Letting the rate follow the model's own performance during training improves convergence and accuracy.",
        "Following performance",
        "A rate that halves when one half of the validation data stops improving (`PlateauRule`), scored on the "
        "other half; "
        "against a constant rate and a linear decay, each at its own tuned peak; 4 tasks, 300 steps.",
        {
            "better than a constant rate": "log(validation loss, following / constant) is below 0",
            "better than a decay fixed before": "log(validation loss, following / linear) is below 0",
        },
    ),
    Rule(
        14,
        "An erratic choice of rate makes training unstable.",
        "Erratic rates",
        "The rate of each step times a random factor, log-uniform over two decades with the mean 1, against the smooth "
        "cosine at "
        f"the same best rate: {_AROUND}.",
        {
            "ends worse": "log(final validation loss, erratic / smooth) is above 0",
            "overshoots": "the fraction of steps that raise the loss of their own batch is larger",
        },
    ),
    Rule(
        15,
        "On real prediction problems (for example: will this web visit end in a purchase?) tuning the rate matters.",
        "Real predictions",
        "Ground truth of the three tables (visits to a shop, tumors, diabetes; the best rate chosen by the other "
        "seeds), and "
        "new runs on the visits.",
        {
            "against the usual default": "log(final validation loss at AdamW 1e-3 or SGD-momentum 0.1 / at the best "
            "rate) is above 0",
            "against a tenth of the best": "log(final validation loss at a tenth of the best rate / at the best rate) "
            "is above 0",
            "against ten times the best": "the same at ten times the best rate",
            "ranks visits better": "on the visits, the area under the ROC curve is larger at the best rate than at "
            "the "
            "default",
        },
    ),
)

RULES: dict[int, Rule] = {rule.number: rule for rule in _RULES}
