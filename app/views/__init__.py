"""Pages, one script each, run by `st.navigation`."""
