"""One package per `itda bench` command."""
