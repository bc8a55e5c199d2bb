"""Photographs on disk: the store, the manifests, hashes, near-duplicates, curation, pairs."""
