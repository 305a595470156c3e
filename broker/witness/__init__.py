"""A witness of logs, as a partner agency runs it: a process and a folder of its own, nothing of a broker's.

Cosigns the checkpoints of logs that it was told of (C2SP tlog-witness, tlog-cosignature) if and only if each
extends the one before. It reads no entry, and what it sees tells nothing but how many there are.
`client` is the other end: how a log asks its witnesses.
"""
