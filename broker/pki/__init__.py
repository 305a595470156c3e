"""Certificates and TLS: who may issue them, what they say, where they lie, and how each port uses them.

One noun per module, nothing imported here so that each costs only what it needs:

- `identity`: the SPIFFE id of a system and the digest of its key; refuses every other spelling.
- `profile`: what each kind of certificate says, read from `broker/profiles/*.toml`.
- `authority`: the root, the issuing authority and the leaves they sign; pure but for randomness.
- `folder`: the layout on disk; keys 0600, nothing is ever overwritten.
- `tls`: credentials for gRPC servers and channels, and the context of the HTTPS port.
- `selfcheck`: a server offers itself a TLS 1.2 hello and refuses to run if it is taken up.
- `explain`: why a handshake failed, in a sentence.

Refused here: what a certificate entitles to. A certificate names a system; the directory, by key digest, says
what that system may do, and whether it has been revoked.
"""
