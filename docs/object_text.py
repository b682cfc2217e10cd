"""One public object to Markdown: its signature, its docstring, and what a class has to offer."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any

from docs.docstring_text import linked, read, sections_text

_WIDTH = 88  # of a signature before it is broken into lines


def object_text(name: str, thing: Any, links: Mapping[str, str]) -> str:
    """Return the section of an object.

    Args:
        name: What to call it, such as ``"stepsize.find"``.
        thing: A function or a class.
        links: Where other objects are, by their names.
    """
    doc = read(inspect.getdoc(thing) or "")
    parts = [f"## {name} {{ #{anchor(name)} }}"]
    # results are made by functions of stepsize: their constructors are not shown
    if not isinstance(thing, type) or "Args" in doc.sections:
        parts.append(f"```python\n{signature_text(name, thing)}\n```")
    parts += [linked(doc.summary, links), linked(doc.body, links), *sections_text(doc, links)]
    if isinstance(thing, type) and not issubclass(thing, BaseException):
        parts.append(_members(thing, links))
    return "\n\n".join(part for part in parts if part)


def anchor(name: str) -> str:
    """Return the anchor of an object on its page."""
    return name.rpartition(".")[2]


def signature_text(name: str, thing: Any) -> str:
    """Return the call, with annotations, broken into lines where it is long."""
    signature = inspect.signature(thing)
    texts = [_parameter(one) for one in _marked(list(signature.parameters.values()))]
    result = signature.return_annotation
    arrow = "" if isinstance(thing, type) or result is inspect.Signature.empty else f" -> {_annotation(result)}"
    line = f"{name}({', '.join(texts)}){arrow}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {text},\n" for text in texts) + f"){arrow}"


def annotated_names(thing: Any) -> set[str]:
    """Return the names in what a function returns, or in the fields of a result."""
    if isinstance(thing, type):
        texts = [field.type for field in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else []
    else:
        texts = [inspect.signature(thing).return_annotation]
    return {word for text in texts for word in re.findall(r"\w+", str(text))}


def _marked(parameters: list[inspect.Parameter]) -> list[inspect.Parameter | str]:
    made: list[inspect.Parameter | str] = []
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not any(
            each == "*" or (isinstance(each, inspect.Parameter) and each.kind is one.VAR_POSITIONAL) for each in made
        ):
            made.append("*")
        made.append(one)
    return made


def _parameter(one: inspect.Parameter | str) -> str:
    if isinstance(one, str):
        return one
    stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    kind = "" if one.annotation is one.empty else f": {_annotation(one.annotation)}"
    if one.default is one.empty:
        return f"{stars}{one.name}{kind}"
    return f"{stars}{one.name}{kind} = {_value(one.default)}"


def _value(value: Any) -> str:
    text = repr(value)
    return "…" if " at 0x" in text or "object>" in text or "_HAS_DEFAULT" in text else text


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _members(thing: type, links: Mapping[str, str]) -> str:
    lines = []
    for name, member in vars(thing).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if name.startswith("_") or not (inspect.isfunction(function) or isinstance(member, property)):
            continue
        doc = read(inspect.getdoc(function) or "")
        call = name if isinstance(member, property) else f"{name}({', '.join(_short_parameters(function))})"
        lines.append(f"- `{call}`: {linked(doc.summary, links)}")
    return "**Methods and properties**\n\n" + "\n".join(lines) if lines else ""


def _short_parameters(function: Any) -> list[str]:
    given = [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
    texts = []
    for one in _marked(given):
        if isinstance(one, str):
            texts.append(one)
        else:
            bare = one.replace(annotation=one.empty)
            texts.append(_parameter(bare).replace(" = ", "="))
    return texts
