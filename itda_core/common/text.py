"""Strings that may come from anywhere, made safe to print."""


def one_line(text: str) -> str:
    """A stranger's text as one line with nothing in it that a terminal would obey."""
    return " ".join(text.split()).encode("unicode_escape").decode() if not text.isprintable() else text


def has_half_characters(text: str) -> bool:
    """Whether a text holds half of a character, which cannot be encoded: a lone surrogate."""
    return any("\ud800" <= character <= "\udfff" for character in text)
