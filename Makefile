# `make demo` and `make test` work as the first command on a fresh machine; .ci/bootstrap makes .venv.
PY = .venv/bin/python
DFC = .venv/bin/dfc
WORKERS = 2
FUZZ_EXAMPLES = 2000
export PYTHON

.PHONY: help ready demo test lint unit format fuzz bench validate clean

help:
	@echo 'make demo | test | lint | unit | format | fuzz | bench | validate | clean'

ready:
	@sh .ci/bootstrap

demo: ready
	$(DFC) compile llama3-8b --on ador --phase prefill --batch 1 --seq 2048 -o out/demo

test: lint unit

lint: ready
	$(PY) -m ruff check
	$(PY) -m mypy

unit: ready
	$(PY) -m pytest -q -n $(WORKERS)

format: ready
	$(PY) -m ruff format
	$(PY) -m ruff check --fix

# Property tests with many more examples than `make test` draws.
fuzz: ready
	DFC_FUZZ=$(FUZZ_EXAMPLES) $(PY) -m pytest -q -n $(WORKERS) -k 'fuzz or property'

# Each script in benchmarks/ says what it reports; together they write benchmarks/RESULTS.md.
bench: ready
	$(PY) benchmarks/run.py

validate: ready
	for script in benchmarks/validate_*.py; do $(PY) "$$script" || exit 1; done

clean:
	rm -rf .venv build dist out ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
