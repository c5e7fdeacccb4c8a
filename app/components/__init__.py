"""Custom components, for what Streamlit does not have."""
