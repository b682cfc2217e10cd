"""The words that user-facing text avoids, with what to write instead; and the text of pages and packages."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TRAINING = "run|loss|data|set|row|step|batch|curve|label|example|code|loop"  # what can be a training …

# Each pattern with what to write instead. Words that are also good English are only caught in their odd use.
WORDS: dict[str, str] = {
    # data, evaluation, cost
    r"unseen": "validation data, validation loss",
    r"judg(?:es?|ed|ing)": "evaluate on, select by, rank by; objective",
    r"trainings": "runs, training runs",
    rf"(?:a|an|each|every|one|another|this|whole|full) training(?! (?:{_TRAINING}))": "a run",
    r"(?:loses?|lost|losing)": "is 8% above the best; diverges; rises again",
    r"in the median(?! and)": "median 3.8%",
    r"at worst": "worst case",
    r"\d+ ?% quantile": "90th percentile",
    r"pick(?:s|er|ers)": "recommended learning rate; method",
    r"the truth": "ground truth",
    r"with probability \d": "80% credible interval",
    r"noises": "standard deviations",
    r"(?:beyond|widths of) the noise": "larger than the noise",
    r"told apart": "distinguishable",
    r"untrained": "loss at initialization",
    r"(?:a|the|what) share of": "fraction",
    # learning rate and schedules
    r"\d updates|in updates": "steps",
    r"length of the (?:gradient|step|noise|update)": "norm",
    r"behind": "after",
    r"leap(?:s|ed)?": "jump",
    r"open durations?": "relative durations",
    r"carr(?:y|ies|ied) (?:a|the) (?:learning )?rate": "rescale, transfer",
    r"(?:kin|relatives)": "variants",
    r"(?:bears|just bear)": "is stable up to, tolerates",
    r"basins?": "near-optimal range",
    r"cliffs?": "steep rise; stability limit",
    r"(?-i:lr curves?)": "LR curve",
    r"spill(?:s|ed)?": "offload",
    # watching and guarding
    r"ways? of the weights": "weight trajectory",
    r"wandering|straight on": "straightness",
    r"on record|precedents?": "reference runs",
    r"looked alike": "similar reference runs",
    r"cannot tell": "inconclusive",
    r"chang(?:e|ed) (?:its|their) mind": "how to check",
    r"remed(?:y|ies)": "suggested fix",
    r"surviv(?:es?|ed)": "not diverge; finish",
    r"(?:go|goes|going|went) back": "rolls back",
    r"acts": "actions",
    r"troubles?": "fault, incident",
    r"mend(?:s|ed|ing)?": "fix",
    r"(?:is|are|was|were|be) kept": "is saved",
    r"wait for the device": "without device synchronization",
    r"(?:sound|faulty) trainings?|sound runs?": "healthy run",
    r"(?:good|sound) (?:run|one)s? accused": "false alarm",
    # search, workers
    r"settings?": "configuration",
    r"contenders?": "optimizer, configuration",
    r"at the edge(?! of stability)": "at the end of the search range",
    r"crowds?": "batch of vectorized runs",
    r"scout(?:s|ing)?": "short exploratory runs",
    r"cohorts?": "vectorized runs",
    r"one by one|one after the other|many at once": "sequentially; vectorized",
    r"crew": "workers",
    r"travels?": "is pickled and sent",
    r"(?:within|beyond the|out of) reach": "state that the step can change",
    r"(?:told|tells|untold)": "logged, reported, says",
    r"verbs?": "function, command",
    r"(?<!has )(?<!makes )(?<!is )(?<!with )rooms?": "package",
    r"seams?": "extension point",
    r"twins?": "reference implementation",
    r"peers": "other libraries",
    r"bit for bit": "exactly (bitwise)",
    r"proven by": "verified by checksum",
    # small words that give a translation away
    r"(?:dear|anew|alike)": "expensive; again; equally",
    r"besides": "also; in addition to",
    r"as a rule(?! of thumb| that)|for instance|in life|some hundreds?": "typically; for example; in practice",
    r"(?:anybody|anyone|nobody)(?:'s)?": "any; unknown",
    r"by itself": "automatically",
    r"speaks? for|flatters": "points to; looks better than it is",
    r"brings?": "what do you gain",
    r"\w+s an? (?:seed|decade|step|second|trial|pass|update|training)(?= *[,.;:)|]|$)": "per seed",
    # spelling and numbers
    r"\d %": "3.8%, without a space",
    r"warm-ups?": "warmup",
    r"(?:coloured|colours?|neighbours?|neighbouring|centres?|behaviours?|licences?|tumours?|towards)": "color, …",
    r"\w{3,}(?:al|ar|ogn|im|abil)is(?:e|es|ed|ing|ation)": "American spelling: -ize",
}
_PATTERN = re.compile(
    "|".join(rf"(?P<w{n}>(?<![\w-])(?:{word})(?![\w-]))" for n, word in enumerate(WORDS)), flags=re.IGNORECASE
)
_INSTEAD = list(WORDS.values())
_FINE = re.compile(r"(?i)otherwise|advis\w+|revis\w+|precis\w+|exercis\w+|realis(?:m|tic)|minimis\b")

_GENERATED = re.compile(r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", flags=re.DOTALL)
_NOT_PROSE = (
    re.compile(r"^([ \t]*)```.*?^\1```", flags=re.MULTILINE | re.DOTALL),
    re.compile(r"<!--.*?-->", flags=re.DOTALL),
    re.compile(r"``[^`]*``|`[^`]*`"),
    re.compile(r"(?<=\])\([^)\s]*\)"),  # where links lead
    re.compile(r"https?://\S+"),
)


@dataclass(frozen=True)
class Text:
    """A piece of text that users read.

    Attributes:
        where: Name of the page, or file and line.
        text: The text, with code taken out.
    """

    where: str
    text: str

    def hits(self) -> list[str]:
        """Return each word that should not be there, with what to write instead."""
        found = []
        for match in _PATTERN.finditer(self.text):
            if not _FINE.fullmatch(match[0]):
                number = int((match.lastgroup or "w0")[1:])
                around = " ".join(self.text[max(0, match.start() - 30) : match.end() + 20].split())
                found.append(f"{self.where}: {match[0]!r} in '…{around}…'; write: {_INSTEAD[number]}")
        return found


def prose(path: Path, where: str, *, generated: bool = True) -> Text:
    """Return a page without its code, comments and addresses, and on request without what is between its markers."""
    text = path.read_text(encoding="utf-8")
    if not generated:
        text = _GENERATED.sub(" ", text)
    for pattern in _NOT_PROSE:
        text = pattern.sub(" ", text)
    return Text(where, text)


def messages_of(path: Path, where: str) -> Iterator[Text]:
    """Yield the sentences among the strings of a module: those with a space, except docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(doc) for doc in _docstrings(tree)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        if " " in node.value.strip():
            yield Text(f"{where}:{node.lineno}", _without_code(node.value))


def docstring_text(thing: Any, name: str) -> Text:
    """Return what the docstring of a public name says, without its example and the names of its fields."""
    text = inspect.getdoc(thing) or ""
    return Text(name, _without_code(_NAMES.sub(": ", _EXAMPLE.sub("", text))))


_EXAMPLE = re.compile(r"^ *Example:$.*?(?=^ *[A-Z]\w+:$|\Z)", flags=re.MULTILINE | re.DOTALL)
_NAMES = re.compile(r"^ +\*{0,2}\w+:\s", flags=re.MULTILINE)


def _without_code(text: str) -> str:
    for pattern in _NOT_PROSE[2:]:
        text = pattern.sub(" ", text)
    return text


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


def classes_of(path: Path) -> Iterator[str]:
    """Yield the names of the classes of a module that other modules can use."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


_FIELD = re.compile(r"^    \s*(\w+): (\w+)", flags=re.MULTILINE)
_BARE = {
    "of",
    "in",
    "by",
    "with",
    "at",
    "for",
    "from",
    "to",
    "on",
    "into",
    "beside",
    "between",
    "per",
    "against",
    "over",
}


def bare_fields(thing: Any, name: str) -> list[str]:
    """Return the fields of a docstring that begin with a preposition, and so say nothing when read alone."""
    fields = _fields(inspect.getdoc(thing) or "")
    return [f"{name}, {field}: {word} …" for field, word in fields if word.lower() in _BARE]


def _fields(doc: str) -> Iterator[tuple[str, str]]:
    """Yield each argument and attribute with the first word that is said of it."""
    for body in re.split(r"^ *(?:Args|Attributes):$", doc, flags=re.MULTILINE)[1:]:
        yield from _FIELD.findall(re.split(r"^ *[A-Z]\w+:$", body, maxsplit=1, flags=re.MULTILINE)[0])
