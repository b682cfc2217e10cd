"""The comment on each answer, written after the measurement. Nothing here decides anything."""

from __future__ import annotations

__all__ = ["READ", "SHORT"]

_TEXTS = {
    1: """
        From one state and one batch, twice the rate is twice the step, with every optimizer. Only in plain
        SGD is the step lr times the gradient; the norm of Adam's step is almost independent of the norm of
        the gradient. The proportion holds for one step, not for a whole run: with ten times the rate, the
        weights move only three to seven times as far.
    """,
    2: """
        Ten times too high ends worse on average everywhere, by 4% up to 26 times the loss. The three open
        cases are AdamW on tasks whose seeds disagree. What too high looks like depends on the optimizer. With
        SGD-momentum a quarter of the runs diverge at ten times the best rate, three quarters at a hundred
        times. AdamW seldom diverges. It just ends worse, without a warning sign.
    """,
    3: """
        A low rate is slow rather than stuck. A tenth of the best rate ends 37% above it (median), and four
        times the time closes 81% to 96% of that gap. What is left (1% to 2%, on the tumors 19%) is
        significant, so the rule calls it a poor solution, but it is only the rest of the way. With ten times
        the time, diabetes and tumors arrive. The visits and the photos end further off than after four times
        the time, because they overfit by then. No run was stuck because its steps were too small.
    """,
    4: """
        A good rate is worth more than time. After a quarter of the time it mostly ends below what a tenth of
        the rate reaches in the full time; on the tumors at a third of the loss. There are exceptions: with
        AdamW the longer run is better on the photos, and on the visits there is no significant difference.
        Compared with ten times the rate the differences are larger still, but those runs vary so much that
        four of eight cases are open.
    """,
    5: """
        Confirmed as stated. Between the fast and the slow tenth of the weights there is a factor of six to
        thirty, and it follows their past gradients almost by rank; less so with Adam, whose momentum affects
        the step too. All weights still share one learning rate (statement 1), so per-parameter steps do not
        remove the need to tune it.
    """,
    6: """
        A surprise. With a tuned rate for each, adaptive methods are better under noise on the digits only
        (12% to 16%), and they are better there without noise too (8% to 9%). Under distribution shift Adam is
        better on the digits and the photos (20% and 5%) and worse on the tumors (30%); RMSprop is better
        nowhere. Three small tasks are little evidence, and a *wrong* rate is another question: see
        statement 2.
    """,
    7: """
        With decay, runs end smoothly: in the last fifth the loss varies by a quarter to a fortieth of what it
        does at a constant rate. That the run ends *better* is not confirmed if the constant rate is tuned
        too. It does on the visits and on the photos with AdamW (3% to 4%), differs by at most 1.5% on tumors,
        diabetes and digits, and ends 6% to 17% higher on the transformer, whose 400 steps are too few for
        small steps. On the photos with SGD-momentum the two tuning seeds put the peak of step and linear
        decay next to the stability limit, and the other seeds diverged there; without that task it is 6 of
        18, and 6 opposed. Long runs, for which decays are made, were not measured.
    """,
    8: """
        Rate and momentum interact: with momentum, the rate that is best without it ruins the digits and
        tumors (11 to 27 times the loss), and the best rate with classical momentum 0.9 is a tenth there, just
        1 - 0.9. With the rate corrected like that, momentum gains nothing on these two; on the photos it
        gains 19% to 23%. Much of its reputation as an accelerator is a tenfold rate in disguise. It damps no
        oscillation here. On functions with many minima, more starts get past the shallow minima of Ackley's
        function and of the tilted wells, and none past Rastrigin's steep ones.
    """,
    9: """
        Ten full runs on a grid or at random find a good rate, three do not. No range test is certainly below
        10%: the best three have a median regret of 7% to 10%, and exceed that on ten of the 24 or more. With
        ten full runs a plain grid does better (0.9%) than random draws (4.4%) and optuna's sampler (5.2%),
        as expected with a single number to search. `stepsize find` of version 0.1, at the cost of one full
        run, has 3.4%; it was designed on half of these tasks.
    """,
    10: """
        The second half holds nearly everywhere. The first does not: in 9 of 18 cases a high rate makes the
        *training* loss worse, which is underfitting too (texts, autoencoder, MNIST, one CNN). It overfits if
        a network can memorize its data: digits, tumors, diabetes, visits with SGD-momentum. With fewer than
        1,000 examples it does so in all four cases; these are two tasks, one fewer than the rule requires for
        a condition. Check the training loss before calling it overfitting.
    """,
    11: """
        A rate that is wrong by a factor of three changes the validation loss by 13% (median). Which loss
        should select the rate is another question. If a network can memorize its data (digits, tumors,
        diabetes), the training loss selects a rate at which the validation loss is 1.3 to 10 times as high. On
        texts and the autoencoder both select the same rate, so 16 of 24 cases do not agree, and digits-cnn
        with AdamW even shows the opposite. The advice is a safeguard rather than a gain. (Selection and
        evaluation use the same validation examples with different seeds, which makes the selection look
        better than it is.)
    """,
    12: """
        Scale above all: inputs ten times as large need an eighth to a fortieth of the rate, on all tasks.
        Noise, size and batch size move the best rate of the two tables by a factor of 1.7 to 3. Noise has no
        direction: wrong labels raise it on the tumors, noisy targets lower it on diabetes. On the photos,
        with plenty of examples, none of the three moves it measurably. All with 150 steps, whatever the size
        of the data.
    """,
    13: """
        Another surprise. Halving the rate on a plateau of the validation loss beat neither a tuned constant
        rate nor a linear decay on any of the four tasks. At the tuned peak it rarely lowers the rate, 0 to 1.6
        times per run. On the photos the two tuning seeds put the peak next to the stability limit, as in statement 7;
        without that task it is still 0 of 3. Such methods can correct a *bad* start: forking the run closes nearly
        the whole gap from a hundredth or from ten times the best rate, at three times the cost. It does not
        beat a tuned rate either.
    """,
    14: """
        Mostly not. Jumps between a tenth and ten times from one step to the next, around the same mean, have
        no effect on tumors and on the visits with SGD-momentum. On diabetes they raise the loss by a
        thousandth, which is significant but unimportant: the steps average out. With AdamW they raise it by 8%
        on the photos, and on the visits there is no significant difference. They are ruinous if the best rate
        is just below the stability limit (photos with SGD-momentum: 25 times the loss). A rate that is drawn
        at random once and then held is different: half of such runs end at more than twice the best loss.
    """,
    15: """
        On tumors and diabetes tuning matters a lot: the loss at the usual default is 29% to 120% higher. On
        the example of the statement it matters least. For the visits, all rates over three decades end within
        5% of the best with SGD-momentum. Tuning lowers the loss by 3.7% compared with the default, and does
        not improve the ranking of visits. With AdamW it gains 0.7 points of the area under the ROC curve, and
        no significant decrease of the loss. Only a measurement says which kind of problem you have.
    """,
}

READ = {number: " ".join(text.split()) for number, text in _TEXTS.items()}

SHORT = {
    1: "exactly, for one step",
    2: "always with SGD-momentum, which diverges soon; mostly with AdamW, which seldom diverges",
    3: "slow, rather than stuck: four times the time closes most of the gap",
    4: "with SGD-momentum and on small data; with AdamW not if the near-optimal range is wide",
    5: "as stated",
    6: "on one task of three under noise, and on that one without noise too",
    7: "smoother nearly always, better on some tasks only",
    8: "rate and momentum interact; it accelerates one task of three and damps nothing",
    9: "with ten full runs or more; no range test is certain to",
    10: "small rates underfit; high ones overfit only data that can be memorized",
    11: "it influences it; the selected rate differs if the data can be memorized",
    12: "scale always; noise, size and batch size on the two small tables",
    13: "no better than a tuned constant rate or decay; it corrects bad starts",
    14: "only if the best rate is just below the stability limit; elsewhere the jumps average out",
    15: "a lot on tumors and diabetes, hardly on web visits",
}
