"""Proof that the `paper` preset's parts are what the paper used: each beside fastai 2.8's own, by `make oracle`."""
