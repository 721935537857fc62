.PHONY: check smoke bench report fresh gate baseline

# Fixed precision and strength, few images and a narrow encoder: quick, and nothing that rounding could tip over. Votes of
# half the train images are lost without their weights, so a temperature that does nothing shows.
GATE = --methods random,supervised,rotnet,jigsaw,moco,simclr,barlow_twins --protocol linear,knn --preset smoke --set recipe.views=8000 --device cpu --precision fp32 --set convnet.width=8 --set synthetic.train=2000 --set linear.features=256 --set linear.strengths=0.01 --set knn.k=1000 --set knn.temperature=0.01
# A cache of its own, since cached encoders and features would hide what the code does now.
MEASURE = cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && SSLBENCH_CACHE=$$cache python run_bench.py $(GATE) --results

check:  ## format, lint, types, layers, and nothing generated is stale
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	python -m sslbench.bench.report.readme --check

smoke:  ## every method and protocol on the embedded data, in minutes
	python run_bench.py --methods all --protocol all --preset smoke --results results/local/smoke

bench:  ## speed: ratios within one run, written to results/benchmarks.md
	python -m pytest tests/benchmarks -m slow --benchmark-only --benchmark-json=results/local/benchmarks.json -o addopts=
	python -m tests.benchmarks.table results/local/benchmarks.json results/benchmarks.md

fresh: report  ## fails when a committed table, figure or the README is stale
	git diff --exit-code --stat -- README.md results
	@test -z "$$(git ls-files --others --exclude-standard -- results)" || (git status --short -- results; exit 1)

report:  ## tables and figures of the committed records, and the README's
	for folder in $(filter-out results/local/records results/baseline/records,$(wildcard results/*/records)); do python run_bench.py report --results $$(dirname $$folder) >/dev/null || exit 1; done
	python -m sslbench.bench.report.readme

gate:  ## trains and probes a few methods in a minute or two, and fails when one got worse than results/baseline
	rm -rf results/local/gate
	$(MEASURE) results/local/gate
	python run_bench.py compare results/baseline results/local/gate --tolerance 0.02 --junit results/local/gate/junit.xml --markdown results/local/gate/gate.md

baseline:  ## the records that gate compares with: renew them when a change is meant, and say so in the commit
	rm -rf results/baseline
	$(MEASURE) results/baseline
	rm -rf results/baseline/[!r]*
