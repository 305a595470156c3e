"""What a request for a record came to, shown: the record or the failure, the law it stands on, the evidence.

Owns the words, and what of it is saved. Whatever is shown here, the client has verified.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from broker.cli import evidence, output
from broker.cli.remedy import remedy
from broker.errors import BrokerError, Denied

if TYPE_CHECKING:
    from broker.client import Disclosure
    from broker.core.model import Obligation
    from broker.core.receipt import Receipt


def tell(disclosure: Disclosure, save: Path | None, as_json: bool) -> None:
    """Show a disclosure, and save it where that is wanted."""
    decision, withheld = disclosure.decision, disclosure.withheld
    ruling: dict[str, object] = {
        "outcome": "released",
        "request_id": disclosure.request_id,
        **_before(disclosure),
        "agreement": f"{decision.agreement} version {decision.agreement_version}",
        "basis": decision.basis,
        "condition": decision.condition,
        "gateway": decision.gateway,
        "regime": decision.regime,
        "controller": decision.controller,
        "obligations": [_obligation(each) for each in decision.obligations],
        **_place(disclosure.receipt),
    }
    if as_json:
        saved = _saved(disclosure, save)
        shown = {"withheld": [{"path": each.path, "rule": each.rule} for each in withheld]}
        output.emit_json({**ruling, "verified": True, "record": _as_json(disclosure), **shown, "files": saved})
        return
    _show(disclosure)
    output.say("")
    saved_as = [("saved", each) for each in _saved(disclosure, save)]
    output.one({**ruling, "receipt": "verified, and it commits to this record"}, False, saved_as)


def tell_failure(error: BrokerError, request_id: str, save: Path | None, as_json: bool) -> None:
    """What a failure left as evidence; its own words are printed as every error's are."""
    refused = isinstance(error, Denied)
    told: dict[str, object] = {
        "outcome": "refused" if refused else "failed",
        "request_id": request_id,
        "code": error.refusal.code if isinstance(error, Denied) else type(error).__name__,
    }
    files: list[str] = []
    if error.receipt is not None:
        told |= _place(error.receipt)
        if save is not None:
            files = [str(each) for each in evidence.save(error.receipt, save / f"{request_id}{evidence.PROOF}")]
    if as_json:
        verified = error.receipt is not None
        output.emit_json(
            {**told, "verified": verified, "message": str(error), "remedy": remedy(error), "files": files}
        )
    elif error.receipt is not None:
        output.one({**told, "receipt": "verified"}, False, [("saved", each) for each in files])


def _show(disclosure: Disclosure) -> None:
    from broker.core.facts import rows

    if isinstance(disclosure.record, bytes):
        output.say("This software has no class for the record: save it (--save) and read it with your own.")
        return
    found = rows(disclosure.record, [each.path for each in disclosure.withheld])
    output.table(("field", "value"), [(row.path, row.value) for row in found], _type_name(disclosure))


def _as_json(disclosure: Disclosure) -> object:
    from google.protobuf.json_format import MessageToDict

    if isinstance(disclosure.record, bytes):
        return {"type_url": disclosure.record_any.type_url, "hex": disclosure.record.hex()}
    return MessageToDict(disclosure.record, preserving_proto_field_name=True)


def _type_name(disclosure: Disclosure) -> str:
    return disclosure.record_any.type_url.rpartition("/")[2]


def _obligation(obligation: Obligation) -> str:
    due = f"due {obligation.due:%Y-%m-%d}" if obligation.due else ""
    said = "; ".join(part for part in (due, obligation.detail) if part)
    return f"{obligation.code} ({said})" if said else obligation.code


def _before(disclosure: Disclosure) -> dict[str, object]:
    """What the id that was given stands for, where it had been answered before."""
    if disclosure.earlier is None:
        return {}
    earlier = _place(disclosure.earlier)
    return {
        "answered_before_as": f"entry {earlier['entry']}, index {earlier['index']}; asked again under a new id"
    }


def _place(receipt: Receipt) -> dict[str, object]:
    return {"entry": evidence.entry_id(receipt), "index": receipt.index}


def _saved(disclosure: Disclosure, folder: Path | None) -> list[str]:
    if folder is None:
        return []
    saved = disclosure.save(folder)
    return [str(each) for each in (saved.record, saved.entry, saved.opening, saved.proof)]
