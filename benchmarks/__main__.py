"""The benchmarks' command line: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.combos import TOOL_SEEDS, TRUTH_SEEDS, all_combos
from benchmarks.peers import PICKERS
from benchmarks.ranges import RANGE_PICKERS
from benchmarks.record import read_rows
from benchmarks.replay import SETS


def main() -> None:
    """Run the command that the arguments name."""
    arguments = _parser().parse_args()
    arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    truth = commands.add_parser("truth", help="full trainings over a dense grid of rates, kept in benchmarks/truth")
    truth.add_argument("--seeds", type=_numbers, default=TRUTH_SEEDS, help=f"default {TRUTH_SEEDS}")
    truth.add_argument("--grid-only", action="store_true", help="leave out the midpoints around the best rate")
    truth.add_argument("--out", type=Path, help="folder for the files; default benchmarks/truth")
    truth.set_defaults(run=_truth)

    rungs = commands.add_parser("rungs", help="short trainings of the built-in tasks, for replayed searches")
    rungs.add_argument("--seeds", type=_numbers, default=TRUTH_SEEDS[:2], help="default 0,1")
    rungs.add_argument("--out", type=Path, help="folder for the files; default benchmarks/truth_short")
    rungs.set_defaults(run=_rungs)

    unlike = commands.add_parser("unlike", help="full and short runs of sixteen other trainings, in truth_unlike")
    unlike.add_argument("--only", type=_names, default=(), help="names of trainings; default all")
    unlike.set_defaults(run=_unlike)

    regret = commands.add_parser("regret", help="what each method's rate loses: one table and one picture")
    regret.add_argument("--pickers", type=_names, default=(), help=f"to call for real: {', '.join(PICKERS)}")
    regret.add_argument("--redo", type=_names, default=(), help="pickers and searches whose answers are made anew")
    regret.add_argument("--seeds", type=_numbers, default=TOOL_SEEDS, help=f"of real calls; default {TOOL_SEEDS}")
    regret.add_argument(
        "--tasks", type=_names, default=(), help=f"names or sets: {', '.join(SETS)}, unlike; default all"
    )
    regret.add_argument("--workers", type=int, default=1, help="processes with one thread each; default 1")
    regret.add_argument("--status", type=Path, help="a file to append progress lines to")
    regret.set_defaults(run=_regret)

    ranges = commands.add_parser("ranges", help="how far range tests move when nothing that matters changes")
    ranges.set_defaults(run=_ranges, chosen=RANGE_PICKERS)

    ranges.add_argument("--seeds", type=_numbers, default=TOOL_SEEDS[:1], help=f"default {TOOL_SEEDS[:1]}")
    ranges.add_argument("--pickers", type=_names, help=f"default {', '.join(RANGE_PICKERS)}")
    ranges.add_argument("--redo", type=_names, default=(), help="pickers whose kept answers are made anew")
    ranges.add_argument("--out", type=Path, help="the record; default in benchmarks/records")

    by_schedule = commands.add_parser("by-schedule", help="schedules on real tasks, each at its own tuned peak rate")
    by_schedule.add_argument("--out", type=Path, help="the record; default in benchmarks/records")
    by_schedule.add_argument("--picture", type=Path, help="only draw the record, into this file")
    by_schedule.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
    by_schedule.add_argument("--status", type=Path, help="a file to append progress lines to")
    by_schedule.set_defaults(run=_by_schedule)

    cost = commands.add_parser("schedule-cost", help="what a step of a bound schedule costs, beside torch's schedulers")
    cost.add_argument("--out", type=Path, help="the record; default in benchmarks/records")
    cost.set_defaults(run=_schedule_cost)

    population = commands.add_parser("population", help="many rates at once, against plain loops over the same rates")
    population.add_argument("--out", type=Path, help="the record; default in benchmarks/records")
    population.add_argument("--threads", type=_numbers, default=(1, 2), help="of torch; default 1,2")
    population.add_argument("--compiled", action="store_true", help="also with torch.compile, which takes minutes")
    population.set_defaults(run=_population)

    overhead = commands.add_parser("sweep-overhead", help="what a sweep costs besides training, beside bare optuna")
    overhead.add_argument("--out", type=Path, help="the record; default in benchmarks/records")
    overhead.set_defaults(run=_sweep_overhead)

    following = commands.add_parser("following", help="what follow gains from the usual rate, by the test loss")
    following.add_argument("--only", type=_names, default=(), help="methods to train again; default all")
    following.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
    following.set_defaults(run=_following)

    adaptive = commands.add_parser("adaptive", help="rates that adapt by themselves, from a bad start")
    adaptive.add_argument("--seeds", type=_numbers, default=(0, 1, 2), help="default 0,1,2")
    adaptive.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
    adaptive.add_argument("--only", type=_names, help="rules to add to the record: polyak-decaying")
    adaptive.set_defaults(run=_adaptive)

    optimizers = commands.add_parser("optimizers", help="optimizers on real tasks, each at its own tuned rate")
    optimizers.add_argument("--studies", type=_names, help="default all: four tasks, noise and drift")
    optimizers.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
    optimizers.set_defaults(run=_optimizers)

    on_record = commands.add_parser(
        "find-on-record", help="find, replayed on tasks of the record that its prior has not seen"
    )
    on_record.add_argument("--count", type=int, default=150, help="of tasks; default 150")
    on_record.set_defaults(run=_find_on_record)

    deepobs = commands.add_parser("deepobs", help="picks from the beginnings of trainings that others recorded")
    deepobs.set_defaults(run=_deepobs)

    verdicts = commands.add_parser("verdicts", help="what watching says of rates that are too low, fine and too high")
    verdicts.add_argument("--seeds", type=_numbers, default=(101,), help="default 101")
    verdicts.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
    verdicts.set_defaults(run=_verdicts)

    late = commands.add_parser("late-findings", help="whether overfitting and plateaus are found in whole trainings")
    late.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
    late.add_argument("--record", type=int, default=0, metavar="N", help="instead on 2 × N tasks of the record")
    late.set_defaults(run=_late)

    model = commands.add_parser("verdict-model", help="learn the verdict of watch from the record, for the package")
    model.set_defaults(run=_verdict_model)

    logs = commands.add_parser("logs", help="what diagnose says of logs, held against the rest of each log")
    logs.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
    logs.set_defaults(run=_logs)

    guard = commands.add_parser("guard", help="faults on purpose, with a guard and without")
    guard.add_argument("--count", type=int, default=108, help="of trials; default 108, four of each")
    guard.add_argument("--workers", type=int, default=1, help="processes with one thread each; default 1")
    guard.set_defaults(run=_guard)

    lr_record = commands.add_parser("lr-record", help="loss against rate of small tasks by the thousand, drawn from a seed")
    lr_record.add_argument("--count", type=int, default=1_000, help="of tasks; default 1000; those on file are kept")
    lr_record.add_argument("--seed", type=int, default=0, help="of the draws; default 0")
    lr_record.add_argument("--out", type=Path, help="the record; default benchmarks/lr_record/record.npz")
    lr_record.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
    lr_record.add_argument("--further-seeds", action="store_true", help="six more seeds of every tenth task instead")
    lr_record.set_defaults(run=_lr_record)

    lr_prior = commands.add_parser("lr-prior", help="learn the prior of find from that record, for the package")
    lr_prior.set_defaults(run=_lr_prior)

    watching = commands.add_parser("watch", help="what watching costs a step")
    watching.add_argument("--device", default="cpu", help="default cpu")
    watching.set_defaults(run=_watch)

    live = commands.add_parser("live", help="how far the live page is behind, and what it costs; needs Chromium")
    live.add_argument("--only", type=_names, default=(), help="of delay,many runs,orders; default all")
    live.set_defaults(run=_live)

    imports = commands.add_parser("import-time", help="seconds of importing stepsize, beside torch and optuna")
    imports.set_defaults(run=_import_time)

    claims = commands.add_parser("claims", help="fifteen common statements about the rate, each measured")
    claims.add_argument("--only", type=_numbers, default=tuple(range(1, 16)), help="numbers of statements; default all")
    claims.add_argument("--seeds", type=int, default=5, help="that judge; default 5")
    claims.add_argument("--workers", type=int, default=1, help="processes with one thread each; default 1")
    claims.add_argument("--page", type=Path, help="only write the record's verdicts into this page, and its pictures")
    claims.set_defaults(run=_claims)

    examples = commands.add_parser("lightning-examples", help="Lightning's lr_find beside find, on three examples")
    examples.set_defaults(run=_lightning_examples)

    tables = commands.add_parser("tables", help="write the tables of the records into a page, or print them")
    tables.add_argument("--page", type=Path, help="for example docs/benchmarks.md; default prints")
    tables.add_argument("--ranges", type=Path, help="the record of ranges; default in benchmarks/records")
    tables.set_defaults(run=_tables)

    pictures = commands.add_parser("pictures", help="draw the records for docs/benchmarks.md")
    pictures.add_argument("--out", type=Path, help="the folder; default docs/images/benchmarks")
    pictures.set_defaults(run=_pictures)

    for command in (truth, rungs, ranges):
        command.add_argument(
            "--tasks", type=_names, default=(), help="names separated by commas, design or held-out; default all"
        )
        command.add_argument("--workers", type=int, default=2, help="processes with one thread each; default 2")
        command.add_argument("--status", type=Path, help="a file to append progress lines to")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _names(text))


def _truth(arguments: argparse.Namespace) -> None:
    from benchmarks.truth import TRUTH_FOLDER, compute_truth

    compute_truth(
        all_combos(arguments.tasks),
        arguments.seeds,
        arguments.out or TRUTH_FOLDER,
        grid_only=arguments.grid_only,
        workers=arguments.workers,
        status=arguments.status,
    )


def _rungs(arguments: argparse.Namespace) -> None:
    from benchmarks.truth import SHORT_FOLDER, compute_rungs

    combos, folder = all_combos(arguments.tasks), arguments.out or SHORT_FOLDER
    compute_rungs(combos, arguments.seeds, folder, workers=arguments.workers, status=arguments.status)


def _unlike(arguments: argparse.Namespace) -> None:
    from benchmarks.unlike.truth import compute_unlike_truth

    compute_unlike_truth(arguments.only)


def _regret(arguments: argparse.Namespace) -> None:
    from benchmarks import regret
    from benchmarks.find_replay import compute_find
    from benchmarks.methods import all_picks, methods_chart, reached, regret_report
    from benchmarks.pictures import PICTURES_FOLDER
    from benchmarks.replay import all_cases, select
    from stepsize.views import save_chart

    cases = select(arguments.tasks)
    if arguments.pickers:
        regret.compute_picks(
            cases,
            arguments.seeds,
            pickers=arguments.pickers,
            redo=arguments.redo,
            workers=arguments.workers,
            status=arguments.status,
        )
    truths = regret.load_truths(all_cases())
    regret.compute_replays((truths[case] for case in cases if case in truths), redo=arguments.redo)
    compute_find(truths[case] for case in cases if case in truths)
    regret.score_picks(truths)
    print(regret_report())
    print(
        save_chart(methods_chart(reached(read_rows(regret.SEARCHES_FILE), all_picks())), PICTURES_FOLDER / "regret.svg")
    )


def _ranges(arguments: argparse.Namespace) -> None:
    from benchmarks.ranges import RANGES_FILE, compute_ranges

    compute_ranges(
        all_combos(arguments.tasks),
        arguments.seeds,
        pickers=arguments.pickers or arguments.chosen,
        redo=arguments.redo,
        path=arguments.out or RANGES_FILE,
        workers=arguments.workers,
        status=arguments.status,
    )


def _by_schedule(arguments: argparse.Namespace) -> None:
    from benchmarks.by_schedule import BY_SCHEDULE_FILE, compute_by_schedule, draw

    path = arguments.out or BY_SCHEDULE_FILE
    if arguments.picture is not None:
        draw(path, arguments.picture)
        return
    compute_by_schedule(path=path, workers=arguments.workers, status=arguments.status)


def _population(arguments: argparse.Namespace) -> None:
    from benchmarks.population import POPULATION_FILE, compute_population

    path = arguments.out or POPULATION_FILE
    compute_population(path=path, threads=arguments.threads, compiled=arguments.compiled)


def _sweep_overhead(arguments: argparse.Namespace) -> None:
    from benchmarks.sweep_overhead import OVERHEAD_FILE, compute_overhead

    compute_overhead(path=arguments.out or OVERHEAD_FILE)


def _optimizers(arguments: argparse.Namespace) -> None:
    from benchmarks.optimizers import STUDIES, compute_optimizers

    compute_optimizers(arguments.studies or STUDIES, arguments.workers)


def _adaptive(arguments: argparse.Namespace) -> None:
    from benchmarks.adaptive import compute_adaptive, compute_more

    if arguments.only:
        compute_more(arguments.only, arguments.workers)
    else:
        compute_adaptive(arguments.seeds, arguments.workers)


def _following(arguments: argparse.Namespace) -> None:
    from benchmarks.following import compute_following, following_report

    compute_following(arguments.only, arguments.workers)
    print(following_report())


def _find_on_record(arguments: argparse.Namespace) -> None:
    from benchmarks.find_on_record import compute_find_on_record

    compute_find_on_record(arguments.count)


def _deepobs(_arguments: argparse.Namespace) -> None:
    from benchmarks.deepobs import compute_deepobs

    compute_deepobs()


def _schedule_cost(arguments: argparse.Namespace) -> None:
    from benchmarks.schedule_cost import COST_FILE, compute_cost

    compute_cost(path=arguments.out or COST_FILE)


def _verdicts(arguments: argparse.Namespace) -> None:
    from benchmarks.verdicts import compute_verdicts, verdicts_report

    compute_verdicts(arguments.seeds, workers=arguments.workers)
    print(verdicts_report())


def _late(arguments: argparse.Namespace) -> None:
    from benchmarks.late_findings import compute_late, compute_late_on_record, late_report

    if arguments.record:
        compute_late_on_record(arguments.record, arguments.workers)
    else:
        compute_late(arguments.workers)
    print(late_report())


def _logs(arguments: argparse.Namespace) -> None:
    from benchmarks.logs import compute_logs, logs_report

    compute_logs(arguments.workers)
    print(logs_report())


def _verdict_model(arguments: argparse.Namespace) -> None:
    from benchmarks.verdict_model import learn

    del arguments
    print(learn())


def _guard(arguments: argparse.Namespace) -> None:
    from benchmarks.guard_faults import compute_faults, faults_report

    compute_faults(arguments.count, arguments.workers)
    print(faults_report())


def _lr_record(arguments: argparse.Namespace) -> None:
    from benchmarks.lr_record.collect import RECORD_FILE, collect
    from benchmarks.lr_record.further_seeds import collect_seeds, seeds_report

    if arguments.further_seeds:
        collect_seeds(arguments.out or RECORD_FILE, workers=arguments.workers)
        print(seeds_report())
        return
    collect(arguments.count, arguments.seed, arguments.out or RECORD_FILE, workers=arguments.workers)


def _lr_prior(arguments: argparse.Namespace) -> None:
    from benchmarks.lr_prior import compute_prior

    del arguments
    compute_prior()


def _lightning_examples(_: argparse.Namespace) -> None:
    from benchmarks.lightning_examples import compute_examples, examples_report

    compute_examples()
    print(examples_report())


def _watch(arguments: argparse.Namespace) -> None:
    from benchmarks.watch_overhead import compute_overhead, overhead_report

    compute_overhead(arguments.device)
    print(overhead_report())


def _live(arguments: argparse.Namespace) -> None:
    from benchmarks.live_page import compute_live, live_report

    compute_live(arguments.only)
    print(live_report())


def _import_time(_arguments: argparse.Namespace) -> None:
    from benchmarks.import_time import compute_import, import_report

    compute_import()
    print(import_report())


def _pictures(arguments: argparse.Namespace) -> None:
    from benchmarks.pictures import PICTURES_FOLDER, draw_all

    for path in draw_all(arguments.out or PICTURES_FOLDER):
        print(path)


def _claims(arguments: argparse.Namespace) -> None:
    if arguments.page is not None:
        from benchmarks.claims.report import write_page

        write_page(arguments.page)
        return
    from benchmarks.claims.campaign import compute_claims

    compute_claims(arguments.only, seeds=arguments.seeds, workers=arguments.workers)


def _tables(arguments: argparse.Namespace) -> None:
    from benchmarks.adaptive import adaptive_report
    from benchmarks.by_schedule import BY_SCHEDULE_FILE, schedules_report
    from benchmarks.deepobs import deepobs_report
    from benchmarks.following import following_report
    from benchmarks.guard_faults import faults_report
    from benchmarks.import_time import import_report
    from benchmarks.late_findings import late_report
    from benchmarks.lightning_examples import examples_report
    from benchmarks.live_page import live_report
    from benchmarks.logs import logs_report
    from benchmarks.methods import regret_report
    from benchmarks.optimizers import optimizers_report
    from benchmarks.population import POPULATION_FILE, population_report
    from benchmarks.ranges import RANGES_FILE, ranges_report
    from benchmarks.schedule_cost import COST_FILE, cost_report
    from benchmarks.sweep_overhead import OVERHEAD_FILE, overhead_report
    from benchmarks.tables import update_page
    from benchmarks.verdict_model import model_report
    from benchmarks.verdicts import VERDICTS_FILE, verdicts_report
    from benchmarks.watch_overhead import overhead_report as watch_report

    reports = {
        "regret": regret_report(),
        "deepobs": deepobs_report(),
        "adaptive": adaptive_report(),
        "following": following_report(),
        "optimizers": optimizers_report(),
        "ranges": ranges_report(arguments.ranges or RANGES_FILE),
        "import-time": import_report(),
        "schedules": schedules_report(BY_SCHEDULE_FILE),
        "schedule-cost": cost_report(COST_FILE),
        "verdicts": verdicts_report(VERDICTS_FILE),
        "verdict-model": model_report(),
        "late-findings": late_report(),
        "logs": logs_report(),
        "lightning-examples": examples_report(),
        "watch": watch_report(),
        "live": live_report(),
        "guard": faults_report(),
        "population": population_report(POPULATION_FILE),
        "sweep-overhead": overhead_report(OVERHEAD_FILE),
    }
    for name, report in reports.items():
        if arguments.page is None:
            print(f"{report}\n")
        else:
            update_page(arguments.page, name, report)


if __name__ == "__main__":
    main()
