"""The pure core: decisions, redaction and evidence as functions of their arguments.

Nothing in here does I/O, reads a clock, awaits, or knows of gRPC or PostgreSQL.
"""
