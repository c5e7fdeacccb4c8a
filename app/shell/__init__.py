"""Parts around every page: sidebar, errors, URLs, widgets, host check."""
