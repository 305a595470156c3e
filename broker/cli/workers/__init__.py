"""Several workers on one machine: the process that starts them, keeps them running and replaces them.

It serves nothing itself and loads neither gRPC nor an event loop, so that hardly anything can go wrong in it.
"""
