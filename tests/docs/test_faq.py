"""The measured answers of the FAQ are what its generator writes from the records."""

from __future__ import annotations

from docs.guide.pages import numbers_of
from docs.make_faq import PAGE, answers, page


def test_the_committed_page_is_what_the_generator_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m docs.make_faq"


def test_an_answer_and_the_chapter_that_it_cites_have_one_source() -> None:
    watched = numbers_of("08-pitfalls")
    given, right = watched["verdicts_told"], watched["verdicts_right"]

    assert (
        f"verdict in {given:.0f} of {watched['verdicts']:.0f} runs; {right:.0f} of these were right"
        in answers()["How reliable is `watch`?"]
    )
