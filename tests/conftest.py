"""Shared by every test: `broker` is imported before any test module can import grpc (see there)."""

import broker

assert broker.__version__
