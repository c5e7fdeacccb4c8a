"""Navigation to another URL of the app from Python.

It is for clicks that are reported to Python, such as one on a point of a figure.
"""

from streamlit.components import v2

from app.components.token_strip import script


def navigate(href: str, key: str = "leap") -> None:
    """Go to a URL, relative to the app, as a click on a link would.

    This adds one entry to the browser's history. (st.switch_page first writes the new parameters under the old page,
    and Back then leads to the old page with the new parameters.)
    """
    _COMPONENT(key=key, data={"href": href}, height="content")


_COMPONENT = v2.component("itda_leap", js=script("leap.js"), isolate_styles=False)
