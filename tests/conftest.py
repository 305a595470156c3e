"""Shared by every test: `broker` is imported before any test module can import grpc (see there)."""

from hypothesis import settings

import broker

assert broker.__version__

# Two busy cores must not fail a property that holds.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
