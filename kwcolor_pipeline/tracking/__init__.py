"""Tracking: MLflow runs, model versions, the champion. The only room that imports MLflow."""
