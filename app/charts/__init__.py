"""DataFrames to Plotly figures; no streamlit."""
