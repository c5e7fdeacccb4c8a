"""What is around every page: sidebar, errors, addresses, widgets, host check."""
