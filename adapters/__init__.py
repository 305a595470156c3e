"""Adapters: each serves the records of one agency's system to the broker."""
