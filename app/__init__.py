"""The pages of ITDA Explorer: `streamlit run app/main.py`."""
