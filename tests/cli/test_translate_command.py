"""`stepsize translate` says where a rate lies elsewhere, and on what that rests."""

from __future__ import annotations

import json

import pytest
from tests.cli.conftest import Invoke

import stepsize
from stepsize import Conditions


def test_its_json_is_the_answer_of_the_library(invoke: Invoke) -> None:
    done = invoke("translate", "0.1", "--from", "sgd", "--to", "momentum", "--batch-size", "64:256", "--json")
    found = stepsize.translate(0.1, from_=Conditions("sgd", batch_size=64), to=Conditions("momentum", batch_size=256))
    told = json.loads(done.stdout)
    assert (told["lr"], told["low"], told["high"]) == pytest.approx((found.lr, found.low, found.high))
    assert [rule["what"] for rule in told["rules"]] == [rule.what for rule in found.rules]


def test_people_read_the_rules_and_their_warnings(invoke: Invoke) -> None:
    done = invoke("translate", "0.1", "--from", "momentum", "--momentum", "0.9:0.95", "--horizon", "1000:4000")
    assert done.exit_code == 0
    assert "start at" in done.stdout
    assert "lr / (1 − m)" in done.stdout
    assert "J. Bjorck et al." in done.stdout
    assert "careful" in done.stdout


def test_without_a_rule_it_says_so(invoke: Invoke) -> None:
    done = invoke("translate", "0.1", "--from", "sgd", "--to", "adamw")
    assert done.exit_code == 3
    assert "none: no scaling rule known" in done.stdout
    assert "Search, for example with stepsize.find" in done.stdout


def test_that_nothing_changes_is_said(invoke: Invoke) -> None:
    same = invoke("translate", "0.1", "--from", "sgd")
    other = invoke("translate", "0.1", "--from", "sgd", "--batch-size", "64:128")
    assert same.exit_code == other.exit_code == 0
    assert "Nothing changes: say what does with --to, --momentum, --batch-size or --horizon." in same.stderr
    assert "Nothing changes" not in other.stderr
