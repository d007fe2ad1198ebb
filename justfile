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

# Run the tests, those in browsers where there is one
test *args:
    pytest {{ args }}

# Run every test, slow ones too, races for thousands of turns
test-all *args:
    pytest -m "not bench and not network" --turns=20 -o faulthandler_timeout=0 {{ args }}

# Run the tests of the APIs with three servers, each request to any of them
test-anywhere *args:
    ISOKERNEL_TEST_SERVERS=3 pytest -m "not bench and not network" tests/server {{ args }}

# Count what is tried to leave the sandboxes, what is refused, and by which wall
walls:
    pytest --walls -n 0 tests/kernel/sandbox/test_walls.py \
        tests/server/contexts/test_everything_allowed.py \
        tests/server/contexts/test_python_container.py

# Measure, one question after the other, and write docs/benchmarks.md: 40 minutes
bench *args:
    failed=""; \
    for question in engine output start javascript kernels contexts isolates http forks requests \
        fronts memory snapshots executions durable python mcp imports packages cluster scale; do \
        begun=$(date +%s); \
        python -m tests.bench.bench_$question --page {{ args }} || failed="$failed $question"; \
        echo "$question took $(($(date +%s) - begun)) s"; \
    done; \
    test -z "$failed" || { echo "failed:$failed"; exit 1; }

# Compare ratios with the last ones, in half a minute; --keep writes them
bench-quick *args:
    python -m tests.bench.quick {{ args }}

# Make the OpenAPI document of the docs
openapi:
    python -c "from isoserver import app; from isoserver.http import openapi; \
        print(openapi.text(app.ROUTES), end='')" > docs/openapi.json

# Run the example notebooks anew
notebooks:
    python -m tests.test_notebooks

# All that must hold before a commit
check: lint type test-all test-anywhere
