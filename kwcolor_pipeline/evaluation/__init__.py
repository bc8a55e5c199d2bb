"""Judging colorizers: metrics, the comparison and its verdict, the report and gallery pages."""
