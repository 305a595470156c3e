"""How a command reaches a running broker: at which address, as whom, for how long, and what its failures mean.

Owns finding the broker of a state folder, and the connection. Refuses a call without a time limit, and an
identity that is not in the folder. The options that say all this are in `remote`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import typer

from broker.errors import CannotConnect, NotAllowed, SetupError, UnknownSystem

if TYPE_CHECKING:
    import grpc

    from broker.pki.tls import TlsFiles

Asked = TypeVar("Asked")
Given = TypeVar("Given")

MAX_MESSAGE = 4 * 1024 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}", re.ASCII)
_TARGET = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})", re.ASCII)
_EXPLAIN_TIMEOUT = 2.0
_STREAM_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a broker is and who we are: `target` is host:port, `name` stands for us in messages."""

    target: str
    name: str
    files: TlsFiles
    state: Path

    @property
    def vkey(self) -> Path:
        """Where a state folder keeps the log's verifier keys."""
        return self.state / "log.vkey"


def endpoint(
    state: Path,
    identity: str | None,
    target: str | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
) -> Endpoint:
    """The endpoint that these options name. Raises SetupError saying which option or file to give."""
    from broker.pki.tls import TlsFiles

    given = (ca, cert, key)
    if ca is not None and cert is not None and key is not None:
        return Endpoint(target_of(target, state), str(cert), TlsFiles(ca, cert, key), state)
    if any(given):
        raise typer.BadParameter("--ca, --cert and --key go together: give all three, or --as NAME")
    if identity is None:
        raise typer.BadParameter(
            "say which system speaks: --as NAME (a folder of DIR/certs, such as cfrs-mdt), "
            "or --ca, --cert and --key"
        )
    return Endpoint(target_of(target, state), identity, _identity(state / "certs", identity), state)


def target_of(target: str | None, state: Path) -> str:
    """The address given, or that of the broker of a state folder. Raises SetupError."""
    if target is not None:
        match = _TARGET.fullmatch(target)
        if match is None or not 0 < int(match[1]) < 65536:
            raise typer.BadParameter("--target is HOST:PORT, such as localhost:7443")
        return target
    ports = state / "ports.json"
    try:
        port = json.loads(ports.read_bytes())["grpc"]
    except FileNotFoundError as error:
        raise SetupError(
            f"no broker is known: {ports} does not exist. Start one with `broker up`, name its state folder "
            "with --state DIR, or give --target HOST:PORT"
        ) from error
    except OSError as error:
        raise SetupError(f"cannot read {ports}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        port = None
    if type(port) is not int or not 0 < port < 65536:
        raise SetupError(f"{ports} names no gRPC port: give --target HOST:PORT")
    return f"127.0.0.1:{port}"


class Link:
    """A connection to a broker for the length of one command; a context manager.

    The broker is looked for at the first use. `asked` says that the command line names one.
    """

    def __init__(self, endpoint: Callable[[], Endpoint], timeout: float, *, asked: bool = True) -> None:
        self.asked = asked
        self._find = endpoint
        self._timeout = timeout
        self._channel: grpc.Channel | None = None

    @cached_property
    def endpoint(self) -> Endpoint:
        """The broker, and who we are. Raises SetupError."""
        return self._find()

    @property
    def channel(self) -> grpc.Channel:
        """The channel, opened at first use. Raises SetupError where our files do not hold together."""
        if self._channel is None:
            import grpc

            from broker.pki.tls import channel_credentials

            options = (("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.enable_retries", 0))
            credentials = channel_credentials(self.endpoint.files)
            self._channel = grpc.secure_channel(self.endpoint.target, credentials, options=options)
        return self._channel

    def call(self, method: grpc.UnaryUnaryMultiCallable[Asked, Given], request: Asked) -> Given:
        """The answer of one call within the time limit. Raises what the broker said, as our error."""
        import grpc

        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._meaning(error) from None

    def stream(
        self, method: grpc.UnaryStreamMultiCallable[Asked, Given], request: Asked, *, forever: bool = False
    ) -> Iterator[Given]:
        """Every answer of one call; its time limit is for all of them, or none. Raises as `call`.

        Left before its end, the call is given up.
        """
        import grpc

        call = method(request, timeout=None if forever else max(self._timeout, _STREAM_TIMEOUT))
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._meaning(error) from None
        finally:
            call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            self._channel.close()

    def _meaning(self, error: grpc.RpcError) -> Exception:
        import grpc

        from broker.client.failures import read_status

        failure = read_status(_status(error))
        named = failure.error
        if type(named) in (NotAllowed, *_STRANGERS):
            return type(named)(f"{named} (this was {self.endpoint.name}; --as NAME speaks as another system)")
        if failure.from_broker:
            return named
        if failure.code is grpc.StatusCode.UNAVAILABLE:
            return CannotConnect(self._why())
        if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return CannotConnect(
                f"no answer within {self._timeout:g} s; whether the broker did it is not known: look before "
                f"you repeat it ({self._why()})"
            )
        return named

    def _why(self) -> str:
        from broker.pki.explain import explain_tls

        files = self.endpoint.files
        return explain_tls(self.endpoint.target, files.ca, files.cert, files.key, timeout=_EXPLAIN_TIMEOUT)


_STRANGERS = (UnknownSystem, *UnknownSystem.__subclasses__())


def _identity(certs: Path, name: str) -> TlsFiles:
    from broker.pki.tls import TlsFiles

    # A name is one folder's, so that no name reaches outside `certs`.
    if _NAME.fullmatch(name) is not None and (certs / name / "cert.pem").exists():
        return TlsFiles.within(certs, name)
    known = sorted(found.parent.name for found in certs.glob("*/cert.pem") if _is_system(found))
    if not known:
        raise SetupError(
            f"{certs} holds no identities: make them with `broker certs init` and `broker certs issue`, name "
            "the state folder with --state DIR, or give --ca, --cert and --key"
        )
    raise SetupError(f"{certs} holds no identity of that name (--as): there are {', '.join(known)}")


def _is_system(certificate: Path) -> bool:
    """Whether it is of the system that its folder is named after: servers have certificates beside these, and
    so may folders that were moved aside."""
    from broker.errors import BrokerError
    from broker.pki.files import read_certificates
    from broker.pki.identity import spiffe_id_of

    try:
        system = spiffe_id_of(read_certificates(certificate)[0])
    except (BrokerError, ValueError):
        return False
    return certificate.parent.name == f"{system.agency}-{system.system}"


def _status(error: grpc.RpcError) -> Any:
    from google.rpc import status_pb2
    from grpc_status import rpc_status

    call = cast("grpc.Call", error)  # what a failed call raises is both
    try:
        rich = rpc_status.from_call(call)
    except ValueError:  # details of another status than the one the call ended with belong to nothing
        rich = None
    return rich or status_pb2.Status(code=call.code().value[0], message=call.details() or "")
