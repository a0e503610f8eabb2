"""Postroom: a self-hosted, asynchronous mail platform."""

__version__ = "0.1.0"
