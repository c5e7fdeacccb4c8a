"""Escaping of untrusted text for display, and formatting of numbers."""

import re
import unicodedata

import pandas as pd

_SIGNS = {"\n": "↵", "\t": "→", "\r": "␍", "\x7f": "␡", "\N{LINE SEPARATOR}": "↵", "\N{PARAGRAPH SEPARATOR}": "¶"}
# Letters and symbols by Unicode category, but displayed as blank.
_BLANK = "\u115f\u1160\u3164\uffa0\u2800"
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_UNITS = ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"))
_WORD_JOINER = "\N{WORD JOINER}"


def visible(text: str) -> str:
    """Return a token's text with every character visible.

    Line ends are shown as ↵, tabs as →, and control, zero-width and direction-changing characters by symbol or code
    point, so that they are neither hidden nor take effect.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if character < " ":
        return chr(0x2400 + ord(character))
    if unicodedata.category(character) in _INVISIBLE or character in _BLANK:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def quoted(token: str) -> str:
    """Return a token in quotation marks, for use inside a sentence."""
    return f"“{visible(token)}”" if token else "an empty token"


def inert(text: str) -> str:
    """Escape text for Markdown, so that it is shown literally.

    No markup, link, image or icon is rendered. Backslashes are not enough: bare URLs, `:icons:` and e-mail addresses
    are detected in the unescaped text, so a word joiner, which has no width, splits them.
    """
    escaped = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(visible(text.strip()).split()))
    return re.sub(r"(\\[:@]|www(?=\\\.))", rf"\1{_WORD_JOINER}", escaped, flags=re.IGNORECASE)


def in_figure(text: str) -> str:
    """Escape text for a Plotly label, which interprets a subset of HTML."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with `digits` significant digits; a missing one gives –."""
    if value is None or pd.isna(value):
        return "–"
    if abs(value) >= 999.5:
        shown = f"{value:,.0f}"
    else:
        shown = f"{value:#.{digits}g}".rstrip(".")
        if "e+" in shown:  # rounded up to more digits than it may have
            shown = f"{float(shown):,.0f}"
    return re.sub("e-0?", "e-", shown).replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int = 3) -> str:
    """Format a number with its sign, positive or negative."""
    return ("+" if value >= 0 else "") + number(value, digits)


def count(value: float) -> str:
    """Format an integer with thousands separators."""
    return f"{int(value):,}"


def share(value: float | None) -> str:
    """Format a share as a percentage; a missing one gives –."""
    if value is None or pd.isna(value):
        return "–"
    percent = 100 * value
    if 0 < percent < 0.01:
        return "< 0.01 %"
    if 0 < percent < 0.1:
        return f"{percent:.2g} %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def span(low: float, high: float) -> str:
    """Format a time range in the one unit that fits, with two significant digits."""
    size, unit = next(((size, unit) for size, unit in _UNITS if high >= 1.5 * size), _UNITS[-1])
    first, last = (f"{max(value / size, 0):.2g}" for value in (low, high))
    first, last = (count(float(each)) if float(each) >= 100 else each for each in (first, last))
    return f"{last} {unit}" if first == last else f"{first}–{last} {unit}"


def size(bytes_: float) -> str:
    """Format an amount of memory or disk space."""
    unit, *larger = ("B", "kB", "MB", "GB", "TB")
    while larger and bytes_ >= 999.5:
        bytes_, unit = bytes_ / 1000, larger.pop(0)
    return f"{bytes_:.2g} {unit}" if bytes_ < 10 else f"{bytes_:,.0f} {unit}"


def duration(seconds: float) -> str:
    """Format a number of seconds as a duration."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
