"""Import, export, and exchange with the Hub, SAELens and SAEBench."""
