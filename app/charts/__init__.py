"""Plotly figures made from DataFrames, independent of Streamlit."""
