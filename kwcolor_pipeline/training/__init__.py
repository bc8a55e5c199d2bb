"""Training: presets, data, losses, the loop with its checkpoints, and the three stages.

Nothing here knows Dagster or MLflow; a stage reports each epoch to a callback.
"""
