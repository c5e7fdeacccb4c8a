"""What several pages share: the sidebar, names of dictionaries, links, figures with their data, and errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app import figures, resources, state
from app.components.token_strip import Row, Token, token_strip
from app.naming import names
from app.tables import csv_of
from app.text import inert
from itda_core.library import DictionaryRecord
from itda_core.types import DamagedError, UserError

LIBRARY_PAGE, ATOMS_PAGE, BUILD_PAGE = "views/library.py", "views/atoms.py", "views/build.py"
COMPARE_PAGE, DECOMPOSE_PAGE, SIMILARITY_PAGE = "views/compare.py", "views/decompose.py", "views/similarity.py"
QUALITY_PAGE = "views/quality.py"

_UNITS = {"relative": "of |x|²", "squared": "|x−x̂|²", "cosine": "cosine, mean over dimensions"}


def threshold_of(record: DictionaryRecord) -> str:
    """The threshold with its unit."""
    return f"{record.settings.threshold:g} {_UNITS[record.settings.error]}"


def change(kind: type[state.AnyState], **changes: Any) -> None:
    """Change what a page shows: some fields of its state, which lives in the address."""
    here = state.decode(kind, st.query_params)
    st.query_params.from_dict(state.encode(replace(here, **changes)))


def atoms_address(dictionary_id: str, first: int | None = None) -> str:
    """Address of a dictionary's atoms, or of the first so many of them, relative to the app."""
    return "atoms?" + urlencode(state.encode(state.AtomsState(dictionary_id, first=first)))


def atom_address(dictionary_id: str, atom: int) -> str:
    """Address of one atom, relative to the app."""
    return "atom?" + urlencode(state.encode(state.AtomState(dictionary_id, atom)))


def decompose_address(dictionary_id: str, text: str = "") -> str:
    """Address of a text decomposed with a dictionary, relative to the app; without a text, of the form for one."""
    return "decompose?" + urlencode(state.encode(state.DecomposeState(dictionary_id, text)))


def build_address(form: state.BuildState) -> str:
    """Address of the Build page with its form filled, relative to the app."""
    return "build?" + urlencode(state.encode(form))


def compare_address(shown: state.CompareState) -> str:
    """Address of two dictionaries side by side, relative to the app."""
    return "compare?" + urlencode(state.encode(shown))


def quality_address(shown: state.QualityState) -> str:
    """Address of how good a dictionary is, relative to the app."""
    return "quality?" + urlencode(state.encode(shown))


def sidebar() -> None:
    """The sidebar: the library, and the dictionary that is read now."""
    root = resources.library().root
    with st.sidebar:
        st.page_link(LIBRARY_PAGE, label="Library", icon=":material/grid_view:")
        st.caption(f"Folder {inert(root.name)}", help=inert(str(root)))
        chosen, other = st.query_params.get("d", ""), st.query_params.get("e", "")
        others = dictionary_names()
        if chosen not in others:
            return
        if other in others:
            for side, each in (("a", chosen), ("b", other)):
                st.caption(f"Dictionary {side.upper()}")
                dictionary_link(each, others[each], place=f"sidebar_{side}", side=side)
            return
        st.caption("Dictionary")
        dictionary_link(chosen, others.pop(chosen), place="sidebar", is_current=True)
        link("Compare", compare_address(state.CompareState(chosen)), "compare_arrows", key="sidebar_compare")
        link("Quality", quality_address(state.QualityState(chosen)), "query_stats", key="sidebar_quality")
        if others:
            with st.expander("Others", type="compact"):
                for other, name in others.items():
                    dictionary_link(other, name, place="sidebar")


def sound_records() -> list[DictionaryRecord]:
    """The dictionaries that can be opened."""
    return [record for record in resources.records() if isinstance(record, DictionaryRecord)]


def dictionary_names() -> dict[str, str]:
    """Names of the dictionaries that can be opened, by id."""
    return names(sound_records())


def dictionary_link(
    dictionary_id: str, name: str, icon: str = "", *, place: str = "page", is_current: bool = False, side: str = ""
) -> None:
    """A link to a dictionary's atoms; `place` tells apart links to the same one on a page.

    `side` is the one that it has in a comparison.
    """
    link(name, atoms_address(dictionary_id), icon, key=f"{place}_{dictionary_id}", is_current=is_current, side=side)


def link(text: str, address: str, icon: str = "", *, key: str, is_current: bool = False, side: str = "") -> None:
    """A link to a page with its parameters.

    (Not st.page_link: where the page is open already, for another dictionary, it leaves the address as it is.)
    """
    row = Row([Token(text)], href=address, icon=icon, is_current=is_current, sides=side)
    token_strip([row], key=key, style="links")


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show an error that the reader can mend as its one line, and what there is instead."""
    try:
        yield
    except DamagedError as error:
        st.title("Damaged")
        show_error(error, icon=":material/broken_image:")
        st.text("Nothing else in the library is affected. The command itda verify checks every file of it.")
        ways_on()
    except UserError as error:
        st.title("This cannot be shown")
        show_error(error)
        ways_on()
    except OSError as error:  # a file or folder that cannot be opened, or was taken away at this moment
        st.title("This cannot be shown")
        show_error(_unreadable(error))
        ways_on()


def say_error(error: Exception) -> bool:
    """Show an error that the reader can mend as its one line, where `errors_shown` is not; False for any other."""
    if isinstance(error, UserError | OSError):
        show_error(error if isinstance(error, UserError) else _unreadable(error))
        return True
    return False


def ways_on() -> None:
    """What can be opened instead; nothing where it is the library itself that cannot be read."""
    try:
        other_dictionaries()
    except (UserError, OSError):
        return  # said above already


def _unreadable(error: OSError) -> UserError:
    """What the system says of a file, as a line for the reader."""
    if error.filename is None:
        return UserError(f"this needs something that is not to be had: {error}")
    return UserError(
        f"{str(error.filename)[:200]} cannot be used ({error.strerror}): see to that, or name another library in "
        f"{resources.LIBRARY_VARIABLE}"
    )


def show_error(error: UserError, icon: str = ":material/link_off:") -> None:
    """An error's one line, as a sentence unless it begins with the name of something."""
    text = str(error)
    is_sentence = text.split(" ", 1)[0].isalpha()
    st.error(inert(text[:1].upper() + text[1:] if is_sentence else text), icon=icon)


def show_no_dictionary(title: str) -> None:
    """A page whose address names no dictionary."""
    st.title(title)
    st.text("The address names no dictionary.")
    other_dictionaries()


def other_dictionaries(address: Callable[[str], str] = atoms_address) -> None:
    """Links to the dictionaries that there are, each to its atoms or to another address of it."""
    found = dictionary_names()
    if found:
        st.text("These dictionaries can be opened:")
    for dictionary_id, name in found.items():
        link(name, address(dictionary_id), key=f"instead_{dictionary_id}")
    st.page_link(LIBRARY_PAGE, label="Library", icon=":material/grid_view:")


def figure(
    drawn: go.Figure, data: pd.DataFrame | Callable[[], pd.DataFrame], *, key: str, alt: str, file: str, **options
) -> dict:
    """Show a figure, which can be enlarged, with a button that downloads its data; returns what is selected in it."""
    event = st.plotly_chart(drawn, key=key, alt=alt, config=figures.CONFIG, **options)
    download(data, key=f"{key}_data", file=file)
    return dict(event["selection"]) if isinstance(event, dict) and "selection" in event else {}


def download(
    data: pd.DataFrame | Callable[[], pd.DataFrame], *, key: str, file: str, label: str = "Data as CSV"
) -> None:
    """A quiet button that downloads a table as CSV; a function is called when it is clicked."""
    st.download_button(
        label,
        lambda: csv_of(data() if callable(data) else data),
        file_name=file,
        mime="text/csv",
        key=key,
        type="tertiary",
        icon=":material/download:",
        on_click="ignore",
    )
