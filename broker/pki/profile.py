"""What each kind of certificate says: the packaged files `broker/profiles/{root,issuing,client,server}.toml`.

Owns reading them into `Profile` and into X.509 extensions, and recognising a certificate's profile again.
Refuses a file with an unknown key or word: a misspelt restriction must not become no restriction.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.errors import SetupError

NAMES = ("root", "issuing", "client", "server")

_EXTENDED = {"client_auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server_auth": ExtendedKeyUsageOID.SERVER_AUTH}
_USAGES = frozenset({"digital_signature", "key_cert_sign", "crl_sign"})
_KEYS = frozenset({"title", "days", "authority", "path_length", "key_usage", "extended_key_usage", "hosts"})


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of certificate. `path_length` is the number of authorities allowed below an authority."""

    name: str
    title: str
    days: int
    authority: bool
    path_length: int | None
    key_usage: frozenset[str]
    extended_key_usage: tuple[str, ...]
    hosts: tuple[str, ...]

    def basic_constraints(self) -> x509.BasicConstraints:
        """RFC 5280 section 4.2.1.9."""
        return x509.BasicConstraints(ca=self.authority, path_length=self.path_length)

    def usage(self) -> x509.KeyUsage:
        """RFC 5280 section 4.2.1.3: the uses named and no other."""
        return x509.KeyUsage(
            digital_signature="digital_signature" in self.key_usage,
            key_cert_sign="key_cert_sign" in self.key_usage,
            crl_sign="crl_sign" in self.key_usage,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )

    def extended_usage(self) -> x509.ExtendedKeyUsage | None:
        """RFC 5280 section 4.2.1.12, or None where the profile names none (the root)."""
        if not self.extended_key_usage:
            return None
        return x509.ExtendedKeyUsage([_EXTENDED[name] for name in self.extended_key_usage])


@cache
def load(name: str) -> Profile:
    """The packaged profile of that name; raises `SetupError` if there is none or it is not well formed."""
    if name not in NAMES:
        raise SetupError(f"there is no certificate profile {name!r}: choose one of {', '.join(NAMES)}")
    text = resources.files("broker").joinpath("profiles", f"{name}.toml").read_text("utf-8")
    return parse(name, text)


def parse(name: str, text: str) -> Profile:
    """Read a profile from TOML; raises `SetupError` naming the profile and what is wrong with it."""
    try:
        table = tomllib.loads(text)
        _check(table)
        return Profile(
            name=name,
            title=table["title"],
            days=table["days"],
            authority=table["authority"],
            path_length=table.get("path_length"),
            key_usage=frozenset(table["key_usage"]),
            extended_key_usage=tuple(table["extended_key_usage"]),
            hosts=tuple(table.get("hosts", ())),
        )
    except (ValueError, KeyError) as error:
        raise SetupError(f"certificate profile {name}: {error}") from error


def recognise(certificate: x509.Certificate) -> str | None:
    """The profile whose constraints and usages this certificate has exactly, or None."""
    extensions = certificate.extensions
    for profile in map(load, NAMES):
        wanted = (profile.basic_constraints(), profile.usage(), profile.extended_usage())
        if all(
            _value(extensions, kind) == value
            for kind, value in zip(
                (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage), wanted, strict=True
            )
        ):
            return profile.name
    return None


def _value(extensions: x509.Extensions, kind: Any) -> object:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check(table: dict[str, Any]) -> None:
    if unknown := table.keys() - _KEYS:
        raise ValueError(f"unknown key {min(unknown)}")
    if unknown := set(table["key_usage"]) - _USAGES:
        raise ValueError(f"unknown key usage {min(unknown)}")
    if unknown := set(table["extended_key_usage"]) - _EXTENDED.keys():
        raise ValueError(f"unknown extended key usage {min(unknown)}")
    if not isinstance(table["days"], int) or table["days"] < 1:
        raise ValueError("days must be a whole number from 1")
    if table["authority"] is not True and table["authority"] is not False:
        raise ValueError("authority must be true or false")
    if table["authority"] != ("path_length" in table):
        raise ValueError("an authority, and only an authority, has a path_length")
    if table["authority"] != ("key_cert_sign" in table["key_usage"]):
        raise ValueError("an authority, and only an authority, has key_cert_sign")
