# `just` lists the verbs. They need: pip install -e '.[test,dev]'

_:
    @just --list

# Put code into its form
fmt:
    ruff check --fix-only --quiet .
    ruff format .

# Check form and style
lint:
    ruff check .
    ruff format --check .
    codespell

# Check types
type:
    mypy

# Run the tests that are quick
test *args:
    pytest -m "not slow and not bench" {{ args }}

# Run every test
test-all *args:
    pytest -m "not bench" {{ args }}

# Measure
bench *args:
    pytest -m bench -s -p no:randomly --timeout 0 tests/bench {{ args }}

# Run the example notebooks anew and keep their outputs
docs:
    jupyter nbconvert --to notebook --inplace --execute notebooks/*.ipynb

# All that must hold before a commit
check: lint type test-all
