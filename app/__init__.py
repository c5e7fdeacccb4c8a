"""Streamlit app of ITDA Explorer, started with `streamlit run app/main.py`."""
