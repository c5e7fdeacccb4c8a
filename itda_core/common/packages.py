"""The packages whose documentation is read as a corpus."""

PACKAGES = ("numpy", "scipy", "pandas", "sklearn", "torch")
