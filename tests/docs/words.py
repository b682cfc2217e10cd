"""The words that user-facing text avoids, with what to write instead; and the text of pages and packages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    r"rooms?": "package",
    r"seams?": "extension point",
    r"twins?": "reference implementation",
    r"peers": "other libraries",
    r"bit for bit": "exactly (bitwise)",
    r"proven by": "verified by checksum",
    # small words that give a translation away
    r"(?:dear|anew|alike)": "expensive; again; equally",
    r"besides": "also; in addition to",
    r"as a rule|for instance|in life|some hundreds?": "typically; for example; in practice; several hundred",
    r"(?:anybody|anyone|nobody)(?:'s)?": "any; unknown",
    r"by itself|of its own(?! [a-z])": "automatically; separate, its own",
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
    "|".join(rf"(?P<w{n}>(?<![\w-])(?:{word})(?![\w-]))" for n, word in enumerate(WORDS)), re.IGNORECASE
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


def texts_of(path: Path, where: str) -> Iterator[Text]:
    """Yield the sentences in a module: docstrings of public names, and strings with a space, as messages have."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(doc) for doc in _docstrings(tree)}
    public = {id(doc) for doc in _docstrings(tree, only_public=True)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) in public or (id(node) not in docstrings and " " in node.value.strip()):
            text = node.value
            for pattern in _NOT_PROSE[2:]:
                text = pattern.sub(" ", text)
            yield Text(f"{where}:{node.lineno}", text)


def _docstrings(tree: ast.Module, *, only_public: bool = False) -> Iterator[ast.Constant]:
    for node in _named(tree, only_public=only_public):
        if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            yield node.body[0].value


def _named(
    node: ast.AST, *, only_public: bool
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Module]:
    """Yield the module, its classes and functions, and those inside of classes."""
    if isinstance(node, ast.Module) and not only_public:
        yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if only_public and child.name.startswith("_"):
                continue
            yield child
            if isinstance(child, ast.ClassDef) or not only_public:
                yield from _named(child, only_public=only_public)
        elif not only_public:
            yield from _named(child, only_public=only_public)


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


def bare_fields(path: Path, where: str) -> Iterator[str]:
    """Yield the fields of public docstrings that begin with a preposition, and so say nothing when read alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for doc in _docstrings(tree, only_public=True):
        for name, word in _fields(str(doc.value)):
            if word.lower() in _BARE:
                yield f"{where}:{doc.lineno} {name}: {word} …"


def _fields(doc: str) -> Iterator[tuple[str, str]]:
    """Yield each argument and attribute with the first word that is said of it."""
    for body in re.split(r"^ *(?:Args|Attributes):$", doc, flags=re.MULTILINE)[1:]:
        yield from _FIELD.findall(re.split(r"^ *[A-Z]\w+:$", body, maxsplit=1, flags=re.MULTILINE)[0])
