"""The starter: a small trained generator that comes with the package, so that colour is there before any training.

Belongs here: where its files lie. ``generator.safetensors`` (half precision), ``model.json`` and ``README.md`` (its
model card) are a model bundle; ``photographs.parquet`` lists the photographs that it learned from, by sha256 and
perceptual hashes. What made them is ``starter_training``, which is no part of the package.
"""

from pathlib import Path

#: The bundle.
STARTER = Path(__file__).parent
#: Columns ``photo_id``, and ``phash`` and ``dhash`` as in ``photos.hashing``.
PHOTOGRAPHS = STARTER / "photographs.parquet"
