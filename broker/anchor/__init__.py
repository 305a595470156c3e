"""Anchoring: published checkpoints dated by a time-stamp authority outside (RFC 3161), never waited for."""
