"""Serves the built dashboard; the dashboard itself is a plain client of the API."""
