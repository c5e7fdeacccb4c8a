"""Entry point of the app: page settings, the pages, and what they share.

`streamlit run` imports this file and serves the `app` that it defines; every run of a page executes it as `__main__`.
"""

from pathlib import Path

import streamlit as st

from app.shell.guard import MIDDLEWARE
from itda_core.common.machine import wait_passively


def say(error: Exception) -> bool:
    """Show the error of a callback or a fragment, as pages do.

    Return False for a program error, which Streamlit then shows as an exception.
    """
    from app.shell.chrome import say_error

    return say_error(error)


if __name__ != "__main__":
    wait_passively()
    app = st.App(__file__, middleware=MIDDLEWARE, on_script_error=say)
else:
    from app.shell.chrome import errors_shown  # late: the server need not load what reads indexes
    from app.shell.collector import leave_modules_out
    from app.shell.navigation import sidebar

    leave_modules_out()

    # A local file: an icon specified by name would be fetched from an outside host.
    st.set_page_config(
        page_title="ITDA Explorer",
        page_icon=str(Path(__file__).parent / "icon.svg"),
        layout="wide",
        initial_sidebar_state=260,
    )

    page = st.navigation(
        [
            st.Page("views/library.py", title="Library", default=True),
            st.Page("views/atoms.py", title="Atoms", url_path="atoms", visibility="hidden"),
            st.Page("views/atom.py", title="Atom", url_path="atom", visibility="hidden"),
            st.Page("views/decompose.py", title="Decompose", url_path="decompose", visibility="hidden"),
            st.Page("views/compare.py", title="Compare", url_path="compare", visibility="hidden"),
            st.Page("views/similarity.py", title="Similarity", url_path="similarity", visibility="hidden"),
            st.Page("views/quality.py", title="Quality", url_path="quality", visibility="hidden"),
            st.Page("views/build.py", title="Build", url_path="build", visibility="hidden"),
            st.Page("views/jobs.py", title="Jobs", url_path="jobs", visibility="hidden"),
        ],
        position="hidden",
    )
    with errors_shown():
        sidebar(page.url_path)
        page.run()
