"""List of the app's pages, as links; those that cannot be opened now are grey, with the reason."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from streamlit.components import v2

from app.components.token_strip import script

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class NavItem:
    """A page in the list."""

    label: str
    """Its name."""
    icon: str
    """Name of its Material icon."""
    href: str
    """Its URL, relative to the app."""
    is_current: bool = False
    """Whether it is shown now."""
    badge: str = ""
    """Small text after its name."""
    reason: str = ""
    """Why it cannot be opened; empty if it can."""


def nav(items: Sequence[NavItem], *, key: str) -> None:
    """Show the list of pages."""
    _COMPONENT(key=key, data={"items": [asdict(item) for item in items]})


_COMPONENT = v2.component(
    "itda_nav",
    css=(_FOLDER / "nav.css").read_text(encoding="utf-8"),
    js=script("nav.js"),
    isolate_styles=False,
)
