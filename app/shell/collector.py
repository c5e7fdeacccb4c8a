"""What the garbage collector need not walk through."""

import gc
from functools import cache


@cache
def leave_modules_out() -> None:
    """Have the garbage collector pass over the modules that all pages use, once in the life of the app.

    Streamlit collects everything after each run of a page or fragment, which took two thirds of the time of following a
    job. It is done before any page has run: what is left out while it holds models would keep them for ever.
    """
    gc.collect()
    gc.freeze()
