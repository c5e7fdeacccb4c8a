"""Sanitise untrusted strings for printing."""


def one_line(text: str) -> str:
    """Convert untrusted text to one line without terminal control sequences."""
    return " ".join(text.split()).encode("unicode_escape").decode() if not text.isprintable() else text


def has_half_characters(text: str) -> bool:
    """Return whether a text contains lone surrogates, which cannot be encoded."""
    return any("\ud800" <= character <= "\udfff" for character in text)
