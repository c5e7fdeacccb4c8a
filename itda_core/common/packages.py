"""Packages whose documentation makes up the `docs` corpus."""

PACKAGES = ("numpy", "scipy", "pandas", "sklearn", "torch")
