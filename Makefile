PYTHON ?= python

.PHONY: bench
bench:  ## training throughput beside peers; make bench ARGS="--only lamina --rounds 1"
	$(PYTHON) -m benchmarks $(ARGS)
