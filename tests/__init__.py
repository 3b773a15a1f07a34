"""The tests. `make test` runs them all; `python -m pytest tests/NAME` runs some."""
