# `make demo` and `make test` work as the first command on a fresh machine; .ci/bootstrap makes .venv.
PY = .venv/bin/python
DFC = .venv/bin/dfc
WORKERS = 2
FUZZ_EXAMPLES = 2000
FUZZ_SECONDS = 600
FUZZ_SEED = $(shell date +%s)
export PYTHON

.PHONY: help ready demo test lint unit format fuzz cluster bench baseline validate docs pages site newcomer clean

help:
	@echo 'make demo       compile llama3-8b on the chip ador three times: prefill, decode, both at once; a report of the last'
	@echo 'make test       ruff, mypy and all tests; `make lint` and `make unit` are its two halves'
	@echo 'make fuzz       damaged and random texts for $(FUZZ_SECONDS) s, then the property tests with $(FUZZ_EXAMPLES) examples each'
	@echo 'make cluster    studies on a Ray cluster of several nodes, started on this machine (installs ray)'
	@echo 'make bench      measure, and compare with the baseline; make baseline: keep what was measured as the next one'
	@echo 'make validate   compare with measurements of others'
	@echo 'make docs       run the commands of README.md again, draw its picture, count the models of docs/models.md'
	@echo 'make pages      run the commands of the pages that take minutes'
	@echo 'make site       the pages of docs/ and pages of reference as a site in out/site'
	@echo 'make newcomer   from a clean clone, with the checkout and with the wheel, on every Python that is here'
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
	$(DFC) report out/demo/mixed
	@echo
	@echo 'The answer:      a prefill and 16 decodes in one step of llama3-8b on ador; `dfc show out/demo/mixed` has it again'
	@echo 'The report:      out/demo/mixed/report.html, to be opened in a browser: floor plan, schedule, roofline, memory, proof'
	@echo 'What to try next:'
	@echo '  . .venv/bin/activate'
	@echo '  dfc show ador                                                    what the chip is made of'
	@echo '  dfc compile llama3-8b --on ador --phase mixed --without mt       the same without its MAC trees'
	@echo '  dfc compile path/to/config.json --on ador                        a model of your own'
	@echo '  dfc serve llama3-8b --on h100_sxm --slo ttft=1,tbt=0.1 --find-rate --curve 12 -o out/served'
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

# Each script in benchmarks/ says what it reports; together they write benchmarks/RESULTS.md, with ratios to the figures
# of benchmarks/baseline.json.
bench: ready
	$(PY) benchmarks/run.py

baseline: ready
	$(PY) benchmarks/baseline.py

validate: ready
	$(PY) benchmarks/validate.py
	$(PY) benchmarks/validate_serving.py
	$(PY) benchmarks/measured.py

# README.md shows outputs of commands; a test fails where they are no longer true.
docs: ready
	$(PY) docs/refresh.py
	$(PY) docs/models.py
	$(PY) docs/peers.py

pages: ready
	DFC_PAGES=1 $(PY) -m pytest -q tests/test_mentioned.py -k minutes

site: ready
	$(PY) -m mkdocs -q build --strict
	@echo 'Open out/site/index.html'

newcomer:
	@sh .ci/newcomer

clean:
	rm -rf .venv build dist out ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
