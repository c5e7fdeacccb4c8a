"""Names of the dictionaries, links to them, and errors as pages show them."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from app import resources
from app.format.names import names
from app.format.text import inert
from app.shell.urls import LIBRARY_PAGE, atoms_address
from app.shell.widgets import link
from itda_core.common.errors import DamagedError, UserError
from itda_core.library.manifest import DictionaryManifest


def sound_records() -> list[DictionaryManifest]:
    """Return the dictionaries that can be opened."""
    return [record for record in resources.records() if isinstance(record, DictionaryManifest)]


def dictionary_names() -> dict[str, str]:
    """Return the names of the dictionaries that can be opened, by id."""
    return names(sound_records())


def dictionary_link(dictionary_id: str, name: str, icon: str = "", *, place: str = "page", side: str = "") -> None:
    """Show a link to a dictionary's atoms.

    `place` distinguishes links to the same one on a page; `side` is its side in a comparison.
    """
    link(name, atoms_address(dictionary_id), icon, key=f"{place}_{dictionary_id}", side=side)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show an error that the user can fix as its one line, with links to continue."""
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
    except OSError as error:  # a file or folder that cannot be opened, or was removed just now
        st.title("This cannot be shown")
        show_error(_unreadable(error))
        ways_on()


def say_error(error: Exception) -> bool:
    """Show an error that the user can fix as its one line, outside `errors_shown`.

    Return False for any other error.
    """
    if isinstance(error, UserError | OSError):
        show_error(error if isinstance(error, UserError) else _unreadable(error))
        return True
    return False


def ways_on() -> None:
    """Show links to what can be opened instead.

    Nothing is shown where it is the library itself that cannot be read.
    """
    try:
        other_dictionaries()
    except (UserError, OSError):
        return  # reported above already


def _unreadable(error: OSError) -> UserError:
    """Convert an operating system error on a file to a line for the user."""
    if error.filename is None:
        return UserError(f"something that this needs is not available: {error}")
    return UserError(
        f"{str(error.filename)[:200]} cannot be used ({error.strerror}): correct that, or name another library in "
        f"{resources.LIBRARY_VARIABLE}"
    )


def show_error(error: UserError, icon: str = ":material/link_off:") -> None:
    """Show an error's one line.

    It is written as a sentence, unless it begins with the name of something.
    """
    text = str(error)
    is_sentence = text.split(" ", 1)[0].isalpha()
    st.error(inert(text[:1].upper() + text[1:] if is_sentence else text), icon=icon)


def show_no_dictionary(title: str) -> None:
    """Show a page whose URL names no dictionary."""
    st.title(title)
    st.text("The address names no dictionary.")
    other_dictionaries()


def other_dictionaries() -> None:
    """Show links to the atoms of the existing dictionaries."""
    found = dictionary_names()
    if found:
        st.text("These dictionaries can be opened:")
    for dictionary_id, name in found.items():
        dictionary_link(dictionary_id, name, place="instead")
    st.page_link(LIBRARY_PAGE, label="Library", icon=":material/grid_view:")
