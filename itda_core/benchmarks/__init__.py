"""The figures that the README gives, each measured by an `itda bench …` command."""
