"""Text, numbers, names and CSV as pages show them."""
