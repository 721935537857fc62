.PHONY: site check campaign smoke bench report revisions fresh gate baseline

check:  ## format, lint, types, layers, and nothing generated is stale
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m sslbench.bench.plugins.code_identity --check
	python -m sslbench.bench.report.readme --check
	python -m sslbench.bench.report.licences --check

smoke:  ## every method and protocol on the embedded data, in minutes
	python run_bench.py --methods all --protocol all --preset smoke --results results/local/smoke

bench:  ## speed: ratios within one run, written to results/benchmarks.md
	python -m pytest tests/benchmarks -m slow --benchmark-only --benchmark-json=results/local/benchmarks.json -o addopts=
	python -m tests.benchmarks.table results/local/benchmarks.json results/benchmarks.md

revisions:  ## renews the list of released code, after deciding whether REVISION must be raised in a file
	python -m sslbench.bench.plugins.code_identity

fresh: report  ## fails when a committed table, figure or the README is stale
	git diff --exit-code --stat -- README.md LICENSES.md results
	@test -z "$$(git ls-files --others --exclude-standard -- results)" || (git status --short -- results; exit 1)

report:  ## tables and figures of the committed records, and the README's
	for folder in $(filter-out results/local/records results/baseline/records,$(wildcard results/*/records)); do python run_bench.py report --results $$(dirname $$folder) >/dev/null || exit 1; done
	python -m sslbench.bench.report.readme
	python -m sslbench.bench.report.licences

gate:  ## trains and probes a few methods in a minute or two, and fails when one got worse than results/baseline
	python -m tests.gate

baseline:  ## renews the records that gate compares with, after an intended change; say so in the commit
	python -m tests.gate --renew

campaign:  ## kills, full disks, damaged records and random input, in at most 15 minutes
	python -m pytest tests/campaign -m slow -n 2 --dist worksteal -o addopts= -q --durations=5

site:  ## the documentation with the results, into site/; nothing is fetched, and any warning is an error
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict
