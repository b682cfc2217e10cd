"""What is added is read back as it was, in its order, once."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store.examples import a_run, facts

from stepsize.errors import InputError, StoreError, UnknownStudyError
from stepsize.store import FindingRecord, Store, Tally, WatchRecord
from stepsize.training.runs import Changes, Divergence, Evaluation, Run, Setting, Trial

SPEC: dict[str, Any] = {"lr": (1e-5, 1.0), "sampler": {"name": "tpe", "seed": 0}, "seeds": [0, 1]}


def test_a_run_comes_back_with_all_that_it_was(store: Store) -> None:
    run = Run(
        Setting(0.1 + 0.2, 2**40, 10, 32, Changes(momentum=0.9, optimizer="adamw", batch_size=64)),
        np.array([2.5, 0.1, math.inf, math.nan]),
        (Evaluation(1, 1e-300, {"accuracy": 0.5}),),
        Divergence(3, "the loss is – infinite"),
        seconds=0.25,
        passes=7.5,
        initial="ab" * 32,
        cost=0.01,
        trial=Trial(3, {"lr": 0.1 + 0.2, "optimizer": "adamw", "batch_size": 64, "momentum": 0.9}),
        share=1 / 3,
    )
    with store.begin("digits", "sweep", SPEC) as writer:
        writer.add_run(run)

    [again] = store.runs("digits")
    assert facts(again) == {**facts(run), "id": repr(again.id)}
    assert again.status == "Diverged at step 3: the loss is – infinite."
    assert store.trials("digits") == (run.trial,)


def test_figures_of_a_run_that_survived_come_back_exactly(store: Store) -> None:
    run = dataclasses.replace(a_run(losses=[0.3, 0.2]), value=-0.875, train_loss=0.1 + 0.2, val_loss=1e-300)
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(run)

    [again] = store.runs("digits")
    assert facts(again) == {**facts(run), "id": repr(again.id)}
    assert (again.value, again.train_loss, again.val_loss) == (-0.875, 0.1 + 0.2, 1e-300)
    assert again.status == "Trained for 2 steps."


def test_figures_that_are_not_known_come_back_as_nan(store: Store) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(value=math.nan))

    [run] = store.runs("digits")
    assert math.isnan(run.value)
    assert math.isnan(run.val_loss)
    assert run.divergence is None


def test_runs_come_back_in_the_order_of_telling(store: Store) -> None:
    told = [(2, 0.25, 0), (0, 1.0, 1), (1, 0.25, 0), (0, 0.25, 0)]
    for number, share, seed in told:  # a writer for each: a resume goes on counting
        with store.begin("digits", "sweep", SPEC) as writer:
            writer.add_run(a_run(number, share, seed))

    assert [run.key for run in store.runs("digits")] == told


def test_losses_and_evaluations_belong_to_their_run(store: Store) -> None:
    seen = (Evaluation(2, 0.7, {"accuracy": 0.5}), Evaluation(2, math.nan, {"accuracy": math.inf}))
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(0, losses=[2.0, 0.1], evaluations=seen))
        writer.add_run(a_run(1))
    with store.begin("other", "sweep", {}) as writer:
        writer.add_run(a_run(0, losses=[3.0], evaluations=seen[:1]))

    first, second = store.runs("digits")
    assert first.losses.tolist() == [2.0, 0.1]
    assert first.evaluations[0] == seen[0]
    assert math.isnan(first.evaluations[1].loss)
    assert first.evaluations[1].metrics == {"accuracy": math.inf}
    assert (len(second.losses), second.evaluations) == (0, ())
    assert [run.losses.tolist() for run in store.runs("other")] == [[3.0]]


def test_runs_are_read_without_their_curves_where_that_is_said(store: Store) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(0, losses=np.linspace(2.0, 0.1, 100)))

    [whole], [short] = store.runs("digits"), store.runs("digits", curves=False)
    assert (len(whole.losses), len(short.losses), len(short.steps)) == (100, 0, 0)
    for name in set(vars(whole)) - {"losses", "steps"}:
        assert repr(getattr(short, name)) == repr(getattr(whole, name)), name  # NaN included


def test_a_curve_does_not_grow_without_bound(store: Store) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(losses=np.linspace(2.0, 0.1, 100_000)))

    [run] = store.runs("digits")
    assert (len(run.losses), run.steps[-1], run.status) == (2_000, 99_999, "Trained for 100000 steps.")


def test_a_thinned_run_is_stored_again_as_it_is(store: Store) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(losses=np.linspace(2.0, 0.1, 5_000)))
    [thinned] = store.runs("digits")
    with store.begin("copy", "sweep", {}) as writer:
        writer.add_run(thinned)

    [copied] = store.runs("copy")
    assert copied.steps.tolist() == thinned.steps.tolist()
    assert copied.status == "Trained for 5000 steps."


def test_studies_are_counted_all_at_once(store: Store) -> None:
    for name, runs in (("one", 3), ("two", 1), ("three", 0)):
        with store.begin(name, "sweep", {}) as writer:
            for count in range(runs):
                writer.add_run(dataclasses.replace(a_run(count // 2, seed=count), cost=0.5))

    assert store.tallies() == {"one": Tally(2, 3, 1.5), "two": Tally(1, 1, 0.5)}


def test_a_trial_may_be_added_before_its_runs(store: Store) -> None:
    trial = Trial(0, {"lr": 1.0})
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_trial(trial)
        writer.add_trial(trial)
        before = store.trials("digits")
        writer.add_run(a_run(0))

    assert before == store.trials("digits") == (trial,)


def test_studies_do_not_mix(store: Store) -> None:
    with store.begin("one", "sweep", {}) as one, store.begin("two", "find", {}) as two:
        one.add_run(a_run(0, value=1.0))
        two.add_run(a_run(0, value=2.0))
        one.add_run(a_run(1, value=3.0))

    assert [run.value for run in store.runs("one")] == [1.0, 3.0]
    assert [run.value for run in store.runs("two")] == [2.0]
    assert [(study.name, study.kind) for study in store.studies()] == [("one", "sweep"), ("two", "find")]


def test_a_study_says_when_it_was_begun_and_how_it_stands(store: Store) -> None:
    with store.begin("digits", "sweep", SPEC) as writer:
        study = store.study("digits")
        assert study is not None
        assert study.status == "running"
        assert study == writer.study
        assert timedelta(0) <= datetime.now(UTC) - study.created < timedelta(minutes=1)
        writer.finish("done")

    with store.begin("digits", "sweep", SPEC) as writer:
        reopened = store.study("digits")
        assert reopened == dataclasses.replace(study, status="done")
        writer.add_run(a_run())
        running = store.study("digits")
        assert running == study


def test_findings_come_back_in_their_order(store: Store) -> None:
    with store.begin("digits", "watch", {}) as writer:
        writer.add_run(a_run())
        [run] = store.runs("digits")
        given = (FindingRecord("lr-too-high", "warning", {"step": 3}, run.id), FindingRecord("no-decay", "hint"))
        for finding in given:
            writer.add_signals(WatchRecord(1, datetime.now(UTC)), findings=[finding])

    assert store.findings("digits") == given


def test_a_store_is_there_again_after_it_was_closed(where: str) -> None:
    with Store.open(where) as store, store.begin("digits", "sweep", SPEC) as writer:
        writer.add_run(run := a_run(losses=[1.0]))

    with Store.open(where, create=False) as again:
        [kept] = again.runs("digits")
        assert facts(kept) == {**facts(run), "id": "1"}


def test_readers_see_what_was_added_while_the_writer_goes_on(where: str) -> None:
    with Store.open(where) as store, Store.open(where) as other, store.begin("digits", "sweep", {}) as writer:
        for count in range(3):
            assert len(other.runs("digits")) == count
            writer.add_run(a_run(count))


def test_an_equal_specification_reopens_a_study(store: Store) -> None:
    store.begin("digits", "sweep", SPEC).close()

    store.begin("digits", "sweep", {**SPEC, "lr": [1e-5, 1.0]}).close()

    assert len(store.studies()) == 1


@pytest.mark.parametrize(
    ("kind", "spec", "difference"),
    [
        ("find", SPEC, "kind: 'sweep' there, 'find' here"),
        ("sweep", {**SPEC, "lr": (1e-5, 0.1)}, r"spec.lr\[1\]: 1.0 there, 0.1 here"),
        (
            "sweep",
            {**SPEC, "sampler": {"name": "gp"}},
            "spec.sampler.name: 'tpe' there, 'gp' here; .*seed: 0 there, absent",
        ),
        ("sweep", {**SPEC, "trials": 9}, "spec.trials: absent there, 9 here"),
        ("sweep", {**SPEC, "seeds": [0, True]}, r"spec.seeds\[1\]: 1 there, True here"),
    ],
)
def test_another_specification_is_refused_with_what_differs(
    store: Store, kind: str, spec: dict[str, Any], difference: str
) -> None:
    store.begin("digits", "sweep", SPEC).close()

    with pytest.raises(InputError, match=difference) as caught:
        store.begin("digits", kind, spec)

    assert "Give another name" in str(caught.value)
    store.begin("digits", "sweep", SPEC).close()  # the refused one holds no lock


def test_a_run_is_stored_once(store: Store) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(seed=1))
    with store.begin("digits", "sweep", {}) as writer:
        with pytest.raises(InputError, match=r"run must be new: its trial, share and seed are stored already"):
            writer.add_run(a_run(seed=1, value=0.1))
        writer.add_run(a_run(seed=2))

    assert [run.key for run in store.runs("digits")] == [(0, 1.0, 1), (0, 1.0, 2)]


def test_a_run_that_cannot_be_stored_leaves_nothing_behind(store: Store) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        with pytest.raises(InputError, match="setting must hold plain, finite values"):
            writer.add_run(dataclasses.replace(a_run(losses=[1.0]), setting=Setting(1j, 0, 3)))  # type: ignore[arg-type]
        broken = dataclasses.replace(a_run(losses=[1.0]), seconds=None)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="failed"):
            writer.add_run(broken)
        assert store.trials("digits") == ()
        writer.add_run(a_run(losses=[1.0]))

    assert len(store.runs("digits")) == 1


def test_a_trial_keeps_its_values(store: Store) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(0))

        with pytest.raises(
            InputError, match=r"trial must have the values that are stored \(lr: 1.0 there, 0.1 here\); got 0"
        ):
            writer.add_run(dataclasses.replace(a_run(), trial=Trial(0, {"lr": 0.1}), share=0.5))


@pytest.mark.parametrize(
    ("name", "kind", "spec", "message"),
    [
        ("", "sweep", {}, "name must be printable text of 1 to 200 characters"),
        ("a\x00b", "sweep", {}, "name must be printable text"),
        ("a" * 201, "sweep", {}, "name must be printable text"),
        ("a", "", {}, "kind must be printable text"),
        ("a", "sweep", {"lr": math.nan}, "spec must hold plain, finite values for JSON"),
        ("a", "sweep", {"lr": {1, 2}}, "spec must hold plain, finite values for JSON"),
        ("a", "sweep", {"text": "a\x00b"}, "spec must not hold a zero character"),
        ("a", "sweep", [1], "spec must be a mapping"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_made(
    store: Store, name: str, kind: str, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        store.begin(name, kind, spec)

    assert store.studies() == ()


def test_what_is_nested_too_deeply_is_refused(store: Store) -> None:
    deep: dict[str, object] = {}
    for _ in range(20_000):
        deep = {"a": deep}
    with pytest.raises(InputError, match="spec must hold plain, finite values for JSON"):
        store.begin("deep", "sweep", deep)
    assert store.studies() == ()


def test_an_unknown_study_is_none_or_an_error_that_suggests_the_nearest(store: Store) -> None:
    assert store.study("digits") is None
    store.begin("digits", "sweep", {}).close()

    assert [*store.runs("digits"), *store.trials("digits"), *store.findings("digits")] == []
    for read in (store.runs, store.trials, store.findings):
        with pytest.raises(UnknownStudyError, match=r"no study 'digit'; it holds digits. Did you mean 'digits'\?"):
            read("digit")


def test_a_closed_writer_says_so(store: Store) -> None:
    writer = store.begin("digits", "sweep", {})
    writer.close()
    writer.close()

    with pytest.raises(StoreError, match=r"the writer of study 'digits' of .* is closed; begin it again"):
        writer.add_run(a_run())


def test_five_thousand_studies_are_listed_within_a_second(tmp_path: Path) -> None:
    where = tmp_path / "many.db"
    with Store.open(where) as store, store.begin("0", "sweep", {"task": {"name": "digits"}, "seeds": [0, 1]}) as writer:
        writer.add_run(dataclasses.replace(a_run(), cost=0.5))
    with closing(sqlite3.connect(where)) as connection:  # as if written one by one
        ids = range(2, 5001)
        for table, columns in (
            ("studies", "name, kind, created, spec, status"),
            ("runs", 'trial, share, seed, "values", setting, evaluations, value, seconds, passes, cost, initial'),
        ):
            key = "id" if table == "studies" else "study"
            name = "?" if table == "studies" else "trial"
            chosen = columns.replace("name", name, 1) if table == "studies" else columns
            query = f"INSERT INTO stepsize_{table} ({key}, {columns}) SELECT ?, {chosen} FROM stepsize_{table} LIMIT 1"
            connection.executemany(query, [(n, str(n)) if table == "studies" else (n,) for n in ids])
        connection.commit()
    with Store.open(where) as store:
        began = time.process_time()
        studies, tallies = store.studies(), store.tallies()
        took = time.process_time() - began

    assert len(studies) == len(tallies) == 5000
    assert set(tallies.values()) == {Tally(1, 1, 0.5)}
    assert took < 1.0
