"""Goes to another address of the app where it is Python that learns of a click, such as one on a point of a figure."""

from streamlit.components import v2

from app.components.token_strip import script


def navigate(href: str) -> None:
    """Go to an address, relative to the app, as a click on a link would: one step of the browser's history.

    (st.switch_page writes the new parameters under the old page first, and Back then comes to that page with these.)
    """
    _COMPONENT(key="leap", data={"href": href}, height="content")


_COMPONENT = v2.component("itda_leap", js=script("leap.js"), isolate_styles=False)
