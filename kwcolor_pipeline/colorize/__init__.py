"""Colorizing whole photographs: the engine, picture files in and out, provenance."""
