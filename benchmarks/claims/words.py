"""What is said of each answer after looking at it. Nothing here decides anything."""

from __future__ import annotations

__all__ = ["READ", "SHORT"]

_TEXTS = {
    1: """
        From one state and one batch, twice the rate is twice the step, with every optimizer. Only in plain
        SGD is the step lr times the gradient; the length of Adam's step has next to nothing to do with the
        gradient's. The proportion holds for one update, not for a training: ten times the rate carries the
        weights only three to seven times as far.
    """,
    2: """
        Ten times too high ends worse on average everywhere, by 4 % up to 26 times the loss. The three open
        places are AdamW on tasks whose seeds disagree. What too high looks like depends on the optimizer.
        SGD-momentum falls off a cliff: a quarter of its trainings diverge at ten times the best rate, three
        quarters at a hundred times. AdamW seldom diverges at all. It just ends worse, and no alarm tells.
    """,
    3: """
        Too low is slow rather than stuck. A tenth of the best rate ends 37 % above it in the median, and four
        times the time closes 81 to 96 % of that gap. What is left (1 to 2 %, on the tumours 19 %) is
        significant, so the rule calls it a poor solution, but it is the rest of the way. With ten times the
        time, diabetes and tumours arrive. The visits and the photographs end further off than after four
        times the time: by then they overfit. No training stayed in a poor place for want of step length.
    """,
    4: """
        A good rate is worth more than time. After a quarter of the time it mostly ends below what a tenth of
        the rate reaches in the whole; on the tumours at a third of the loss. It is no law: with AdamW the
        longer training wins on the photographs, and on the visits nothing can be told. Against ten times the
        rate the differences are larger still, but those trainings scatter so much that four of eight places
        stay open.
    """,
    5: """
        As told. Between the fast and the slow tenth of the weights lies a factor of six to thirty, and it
        follows their past gradients nearly by rank; less so with Adam, whose momentum shapes the step as
        well. All of them still obey one common rate (statement 1), so steps of their own do not spare the
        search for it.
    """,
    6: """
        A surprise. With a tuned rate for each, adaptive methods are better under noise on the digits alone
        (12 to 16 %), where they are better without noise too (8 to 9 %). Under drift Adam gains on the digits
        and the photographs (20 and 5 %) and loses on the tumours (30 %); RMSprop gains nowhere. Three small
        tasks are little evidence, and a *wrong* rate is another question: see statement 2.
    """,
    7: """
        A decayed rate ends calm: in the last fifth the loss wobbles by a quarter to a fortieth of what it
        does at a constant rate. That it ends *better* is not confirmed once the constant has a tuned rate of
        its own. It does on the visits and on the photographs with AdamW (3 to 4 %), makes no more than 1.5 %
        either way on tumours, diabetes and digits, and loses 6 to 17 % on the transformer, whose 400 updates
        are too few to spend on small steps. On the photographs with SGD-momentum the two tuning seeds put the
        peak of step and linear decay at the edge of a cliff, and judging seeds fell off it; without that task
        it is 6 of 18, and 6 opposed. Long trainings, for which decays are made, were not measured.
    """,
    8: """
        Rate and momentum interact: the rate that is best without momentum ruins the digits and tumours with
        it (11 to 27 times the loss), and the best rate with classical momentum 0.9 is a tenth there, just 1 -
        0.9. With the rate so corrected momentum gains nothing on these two; on the photographs it gains 19 to
        23 %. Much of its fame as an accelerator is a tenfold rate in disguise. It damps no oscillation here.
        On functions with many minima it carries more starts past the shallow ones of Ackley's and of the
        tilted wells, and none past Rastrigin's steep ones.
    """,
    9: """
        Ten full trainings on a grid or at random find a good rate, three do not. Of the range tests none is
        surely below 10 %: the best three have a median regret of 7 to 10 %, and lose more than that on ten of
        the 24 or more. With ten trainings a plain grid does better (0.9 %) than random draws (4.4 %) and
        optuna's sampler (5.2 %), which is no wonder with a single number to search. `stepsize find`, for one
        training, has 3.4 %; it was designed on half of these tasks.
    """,
    10: """
        The second half holds nearly everywhere. The first does not: on 9 of 18 places a high rate makes the
        *training* loss worse, which is underfitting too (texts, autoencoder, MNIST, one CNN). It overfits
        where a network can learn its data by heart: digits, tumours, diabetes, visits with SGD-momentum. With
        fewer than 1,000 examples it does so in all four places; these are two tasks, one short of what the
        rule asks of a condition. Look at the training loss before calling it overfitting.
    """,
    11: """
        A threefold error of the rate moves the unseen loss by 13 % in the median. By which loss to choose the
        rate is another question. Where a network can learn its data by heart (digits, tumours, diabetes), the
        training loss picks a rate at which the unseen loss is 1.3 to 10 times as high. On texts and the
        autoencoder both pick the very same rate, so 16 of 24 places do not agree, and digits-cnn with AdamW
        even shows the opposite. The advice is a safeguard rather than a gain. (Choice and judgement use the
        same unseen examples with different seeds, which flatters the choice.)
    """,
    12: """
        Scale above all: inputs ten times as large want an eighth to a fortieth of the rate, on all tasks.
        Noise, size and batch size move the best rate of the two tables by a factor of 1.7 to 3. Noise has no
        direction: wrong labels raise it on the tumours, noisy targets lower it on diabetes. On the
        photographs, with plenty of examples, none of the three moves it measurably. All with 150 updates,
        whatever the size of the data.
    """,
    13: """
        Another surprise. Halving the rate on a plateau of the unseen loss beat neither a tuned constant rate
        nor a linear decay on any of the four tasks. At the tuned peak it hardly acts, 0 to 1.6 times a
        training. On the photographs the two tuning seeds put the peak at the edge of a cliff, as in statement
        7; without that task it is 0 of 3 all the same. What following can do is to mend a *bad* start:
        `stepsize.follow` closes nearly the whole gap from a hundredth or from ten times the best rate, for
        three times the work. It does not beat a tuned rate either.
    """,
    14: """
        Mostly not. Jumps between a tenth and ten times from one update to the next, around the same mean, do
        nothing on tumours and on the visits with SGD-momentum, and on diabetes they cost a thousandth of the
        loss, significant but of no account: the steps average out. With AdamW they cost 8 % on the
        photographs, and on the visits nothing sure. They are ruinous where the best rate lies just below a
        cliff (photographs with SGD-momentum: 25 times the loss). A rate that is drawn at random once and kept
        is another matter: half of such trainings end at more than twice the best loss.
    """,
    15: """
        On tumours and diabetes tuning matters much: the usual default costs 29 to 120 % of the loss. On the
        very example of the statement it matters least. For the visits, all rates over three decades end
        within 5 % of the best with SGD-momentum; tuning gains 3.7 % of the loss against the default, and
        nothing in ranking the visits. With AdamW it gains 0.7 points of the area under the ROC curve and no
        loss that could be told from chance. Which kind of problem one has, only a measurement says.
    """,
}

READ = {number: " ".join(text.split()) for number, text in _TEXTS.items()}

SHORT = {
    1: "exactly, for one update",
    2: "always with SGD-momentum, which falls off a cliff; mostly with AdamW, which seldom diverges",
    3: "slow, rather than stuck: four times the time closes most of the gap",
    4: "with SGD-momentum and on small data; with AdamW not where the basin is wide",
    5: "as told",
    6: "on one task of three under noise, and on that one without noise too",
    7: "calmer nearly always, better on some tasks only",
    8: "rate and momentum interact; it accelerates one task of three and damps nothing",
    9: "with ten full trainings or more; no range test is sure to",
    10: "small rates underfit; high ones overfit only what can be learned by heart",
    11: "it influences it; the choice differs where data can be learned by heart",
    12: "scale always; noise, size and batch size on the two small tables",
    13: "no better than a tuned constant rate or decay; it mends bad starts",
    14: "only where the best rate lies below a cliff; elsewhere the jumps average out",
    15: "much on tumours and diabetes, hardly on web visits",
}
