# `make demo` and `make test` work as the first command on a fresh machine; .ci/bootstrap makes .venv.
PY = .venv/bin/python
DFC = .venv/bin/dfc
WORKERS = 2
FUZZ_EXAMPLES = 2000
FUZZ_SECONDS = 600
FUZZ_SEED = $(shell date +%s)
export PYTHON

.PHONY: help ready demo test lint unit format fuzz cluster bench validate docs clean

help:
	@echo 'make demo       compile llama3-8b on the chip ador three times: prefill, decode, both at once'
	@echo 'make test       ruff, mypy and all tests; `make lint` and `make unit` are its two halves'
	@echo 'make fuzz       damaged and random texts for $(FUZZ_SECONDS) s, then the property tests with $(FUZZ_EXAMPLES) examples each'
	@echo 'make cluster    studies on a Ray cluster of several nodes, started on this machine (installs ray)'
	@echo 'make bench      measure; make validate: compare with measurements of others'
	@echo 'make docs       run the commands of README.md again, draw its picture, count the models of docs/models.md'
	@echo 'make format     let ruff lay out the code'
	@echo 'make ready      only the environment .venv, which all of these make first'
	@echo 'make clean      remove .venv and everything else that was made'

ready:
	@sh .ci/bootstrap

demo: ready
	$(DFC) compile llama3-8b --on ador --phase prefill --batch 1 --seq 2048 -o out/demo/prefill
	@echo
	$(DFC) compile llama3-8b --on ador --phase decode --batch 16 --context 2048 -o out/demo/decode
	@echo
	$(DFC) compile llama3-8b --on ador --phase mixed -o out/demo/mixed
	@echo
	@echo 'Written to out/demo/prefill, out/demo/decode and out/demo/mixed:'
	@echo '  mapping.json   every op with its unit, tile sizes, times and bytes'
	@echo '  graph.dfir     the graph as text, with what was fused and where it runs'
	@echo '  trace.json     the schedule; load it into https://ui.perfetto.dev'
	@echo '  rtl/           the parameters of the chip and of this schedule for SystemVerilog, Verilog and C'
	@echo 'Next:'
	@echo '  . .venv/bin/activate'
	@echo '  dfc show out/demo/mixed                  the last table again'
	@echo '  dfc show ador                            what the chip is made of'
	@echo '  dfc compile llama3-8b --on ador --phase mixed --without mt       the same without its MAC trees'
	@echo '  dfc compile path/to/config.json --on ador                        a model of your own'
	@echo '  dfc --help'

test: lint unit

lint: ready
	$(PY) -m ruff check
	$(PY) -m mypy

unit: ready
	$(PY) -m pytest -q -n $(WORKERS)

format: ready
	$(PY) -m ruff format
	$(PY) -m ruff check --fix

# Texts first; the seed is printed, and `make fuzz FUZZ_SEED=...` tries the same ones again. Then the same guided by
# coverage where atheris is installed (`.venv/bin/python -m pip install -e .[fuzz]`), then property tests with many
# more examples than `make test` draws (tests/conftest.py reads the variable), and as many studies that are killed.
fuzz: ready
	$(PY) tests/fuzz/run.py --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED)
	$(PY) tests/fuzz/run.py --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --engine atheris
	DFC_FUZZ=$(FUZZ_EXAMPLES) $(PY) -m pytest -q -n $(WORKERS) -m hypothesis
	DFC_FUZZ=$(FUZZ_EXAMPLES) $(PY) -m pytest -q tests/test_studies.py -k killed_at_random_times

# A cluster of several raylets on the loopback interface; workers are killed and a node is taken away.
cluster: ready
	$(PY) -m pip install -q -c constraints.txt -e '.[ray]'
	$(PY) -m pytest -q -m cluster

# Each script in benchmarks/ says what it reports; together they write benchmarks/RESULTS.md.
bench: ready
	$(PY) benchmarks/run.py

validate: ready
	$(PY) benchmarks/validate.py
	$(PY) benchmarks/validate_serving.py

# README.md shows outputs of commands; a test fails where they are no longer true.
docs: ready
	$(PY) docs/refresh.py
	$(PY) docs/models.py

clean:
	rm -rf .venv build dist out ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
