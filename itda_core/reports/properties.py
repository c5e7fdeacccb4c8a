"""Token properties that are probed, by name."""

from typing import NamedTuple

from itda_core.common.packages import PACKAGES


class Property(NamedTuple):
    """Property that a token either has or lacks."""

    words: str
    """Displayed name, such as `in code`."""
    definition: str
    """Definition, in a sentence."""


PROPERTIES = {
    "code": Property(
        "in code",
        "The token stands in code: in an interpreter session, in an indented or fenced block of code, or between "
        "backquotes. Anything else is prose.",
    ),
    "list": Property(
        "in a list", "The token stands in an item of a list, with a bullet or a number in front, and not in code."
    ),
    "number": Property(
        "a number", "The token is a number or a part of one; the digits in a name like float64 are not."
    ),
    "sentence": Property(
        "start of a sentence", "The token holds the capital letter that a sentence of prose begins with."
    ),
}
"""Properties that are derived from the text, by name in a report."""
STANDARD_LIBRARY = "python"
_PACKAGE_NAMES = {STANDARD_LIBRARY: "Python itself", "sklearn": "scikit-learn"}
_PACKAGE = "package:"


def property_of(name: str) -> Property:
    """Return the property with a name from a report.

    An unknown property is displayed by its name.
    """
    if name.startswith(_PACKAGE):
        package = name.removeprefix(_PACKAGE)
        shown = _PACKAGE_NAMES.get(package, package)
        return Property(f"from {shown}", f"The token's document is documentation of {shown}, not of another package.")
    return PROPERTIES.get(name, Property(name, ""))


def package_of(name: str) -> str:
    """Return the name of a document's package property, such as `package:numpy`.

    It is derived from the name of a document of the installed documentation.
    """
    package = name.split(".", 1)[0]
    return _PACKAGE + (package if package in PACKAGES else STANDARD_LIBRARY)
