"""A whole deployment on one machine with nothing installed, for development and demonstration.

Everything is real: PostgreSQL twice, a FHIR server, mutual TLS, adapters as processes of their own. Only the
people are invented.
"""
