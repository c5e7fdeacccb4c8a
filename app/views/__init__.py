"""One script per page, run by `st.navigation`."""
