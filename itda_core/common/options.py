"""Options of a command line or a form, derived from the fields of settings.

A setting is defined once: a field of a frozen dataclass with its type, default and docstring. `options_of` turns it
into an option, whose help is the docstring; `settings_from` turns options back into settings.
"""

import argparse
import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_KINDS = (str, int, float, bool)
_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class Option:
    """One setting as a command line and a form have it."""

    name: str
    """Name, with underscores: of the option, the form's field and the parameter in the URL."""
    field: str
    """Field of the settings."""
    kind: type
    """`str`, `int`, `float` or `bool`: the type of a value."""
    default: Any
    """Default; MISSING if the option is required."""
    choices: tuple[str, ...]
    """Values to choose from; empty for any."""
    parse: Callable[[str], Any] | None
    """Function that parses a value that is more than one of `kind`, such as a list of layers."""
    help: str
    """Description, in plain text."""
    is_negated: bool
    """Whether the option, a flag, is the negation of the field."""

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return "--" + self.name.replace("_", "-")


def option(
    default: Any = MISSING,
    name: str | None = None,
    parse: Callable[[str], Any] | None = None,
    negation: str | None = None,
    hidden: bool = False,
) -> Any:
    """Return a field of settings whose option is not simply one of its name and type.

    Args:
        default: default of the field.
        name: name of the option, if it is not the field's.
        parse: function that parses the option's text.
        negation: name of a flag that sets the field to false.
        hidden: whether the setting has no option.
    """
    return field(default=default, metadata={"option": (name or negation, parse, negation is not None, hidden)})


@cache
def options_of(settings: type) -> tuple[Option, ...]:
    """Return the options of settings, in the order of their fields."""
    docs, hints, found = _field_docs(settings), get_type_hints(settings), []
    for each in fields(settings):
        name, parse, is_negated, hidden = each.metadata.get("option", (None, None, False, False))
        if hidden:
            continue
        kind, choices = _kind_of(hints[each.name], parse)
        default = each.default if not is_negated else not each.default
        text = docs[each.name]
        if is_negated and text:
            text = f"Do not {text[0].lower()}{text[1:]}"
        found.append(Option(name or each.name, each.name, kind, default, choices, parse, text, is_negated))
    return tuple(found)


def add_options(
    parser: Any,
    settings: type,
    names: Sequence[str] = (),
    are_optional: bool = False,
    several: Mapping[str, str] | None = None,
    **changed: Any,
) -> None:
    """Add the options of settings to a parser, or to a group of one.

    Args:
        parser: where to add them.
        settings: the settings.
        names: options to add; all if empty.
        are_optional: whether options that are not used are None, rather than at their defaults.
        several: options that take several values too, separated by commas, as a tuple; with what they then mean.
        changed: defaults that differ from those of the settings, by the option's name.
    """
    for each in options_of(settings):
        if names and each.name not in names:
            continue
        default = changed.get(each.name, each.default)
        text = each.help.replace("%", "%%")
        if each.kind is bool:
            parser.add_argument(each.flag, action="store_true", help=text)
            continue
        if default not in (None, MISSING):
            text += f" (default: {default if each.parse is None else ','.join(map(str, default))})"
        parse: Callable[[str], Any] = each.parse or each.kind
        if several and each.name in several:
            parse, text = _one_or_several(parse), f"{text} {several[each.name]}"
        parser.add_argument(
            each.flag,
            type=parse,
            default=None if default is MISSING or are_optional else default,
            required=default is MISSING,
            choices=each.choices or None,
            metavar=None if each.choices else each.name.rpartition("_")[2].upper(),
            help=text,
        )


def _one_or_several(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser of one value, or of several, separated by commas, as a tuple."""

    def parsed(text: str) -> Any:
        values = tuple(map(parse, text.split(",")))
        return values[0] if len(values) == 1 else values

    parsed.__name__ = parse.__name__  # which argparse names in its error
    return parsed


def settings_from(settings: type[_Settings], values: Mapping[str, Any] | argparse.Namespace) -> _Settings:
    """Return settings from the values of their options; empty text and absent options leave the default.

    Raises what the settings raise for values that cannot be.
    """
    by_name = values if isinstance(values, Mapping) else vars(values)
    found = {}
    for each in options_of(settings):
        value = by_name.get(each.name)
        if value is None or (value == "" and each.default is None):
            continue
        if each.is_negated:
            value = not value
        elif each.parse is not None and isinstance(value, str):
            value = each.parse(value)
        found[each.field] = value
    return settings(**found)


def _kind_of(hint: Any, parse: Any) -> tuple[type, tuple[str, ...]]:
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if parse is not None:
        return str, ()
    if hint not in _KINDS:
        raise TypeError(f"a setting of type {hint} needs a function that parses it")
    return hint, ()


def _field_docs(settings: type) -> dict[str, str]:
    """Return the docstring under each field of a dataclass as one line, without backquotes."""
    try:
        source = inspect.getsource(settings)
    except OSError:  # installed without sources: options then have no help
        return {each.name: "" for each in fields(settings)}
    (tree,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for named, doc in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(named, ast.AnnAssign) and isinstance(named.target, ast.Name) and named.target.id != "_":
            if not (isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)):
                raise TypeError(f"{settings.__name__}.{named.target.id} has no docstring")
            docs[named.target.id] = " ".join(str(doc.value.value).replace("`", "").split())
    return docs
