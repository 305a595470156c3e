"""What anybody can check about a log without asking who runs it.

Reads a published log (C2SP tlog-tiles) from a folder or an address and believes none of it: everything is
derived again from the entries, or checked against a checkpoint that the log's key signed. Behind it stand the
standard library and `cryptography`, and nothing else.
"""
