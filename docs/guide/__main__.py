"""Measures what the guide says and writes it into the pages: ``python -m docs.guide [--short] [--only NAME]``."""

from __future__ import annotations

import argparse
import sys
import time

import torch
from docs.guide.catalog import CHAPTERS, Chapter
from docs.guide.index import write_index
from docs.guide.measuring import FULL, SHORT
from docs.guide.pages import write
from docs.make_faq import write_page as write_faq

from stepsize.errors import DataUnavailableError


def main() -> int:
    """Measure the chapters that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m docs.guide", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a short form that writes nothing: does each chapter run?")
    parser.add_argument("--only", metavar="NAME", help=f"one of: {', '.join(one.page for one in CHAPTERS)}")
    options = parser.parse_args()
    chosen = [one for one in CHAPTERS if options.only in (None, one.page, one.name)]
    if not chosen:
        parser.error(f"--only must name a chapter: {', '.join(one.page for one in CHAPTERS)}; got {options.only!r}")
    torch.set_num_threads(1)  # networks this small gain nothing from more, and repeat to the last bit
    for chapter in chosen:
        _measure(chapter, short=options.short)
    if not options.short:
        write_index()
        write_faq()
    return 0


def _measure(chapter: Chapter, *, short: bool) -> None:
    began = time.perf_counter()
    try:
        measured = chapter.measure(SHORT if short else FULL)
    except DataUnavailableError as error:
        print(f"{chapter.page}: left out, its page stays as it is. {error}", file=sys.stderr)
        return
    if not short:
        write(chapter.page, measured)
    print(f"{chapter.page} ({time.perf_counter() - began:.0f} s): {measured.gist}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
