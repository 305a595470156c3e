"""The records are real: what the trust's own server says now is the answer, and its absence is said."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import pytest

from broker.errors import ProviderTimeout, ProviderUnavailable
from tests.e2e import words
from tests.support.stack import Deployment


async def test_a_change_through_the_servers_own_api_is_the_next_answer(stack: Deployment, direct_care, person):
    """What a clinician writes into the FHIR server is what the next crew is told, with nothing in between."""
    someone = await person("Allergy to latex")
    async with stack.client("nwas-cad") as broker:
        for display in ("Allergy to latex", "Allergy to bee venom", "Allergy to aspirin"):
            await stack.fhir.put(someone.allergy(display))
            told = await words.allergies(broker, someone)
            assert [item.substance.display for item in told.record.allergies.items] == [display]


async def test_what_the_agreement_does_not_name_is_withheld(stack: Deployment, direct_care, person):
    """A crew permitted a substance is told neither its criticality nor the patient's date of birth."""
    someone = await person(criticality="high")
    async with stack.client("nwas-cad") as broker:
        told = await words.allergies(broker, someone)
    withheld = {each.path for each in told.withheld}
    assert {"allergies.items.criticality", "birth_date"} <= withheld
    assert told.record.allergies.items[0].criticality == ""
    assert told.record.birth_date == ""


async def _view(stack: Deployment, error: Exception) -> dict[str, object]:
    """What the auditor reads in the entry that came with a failure."""
    assert error.receipt is not None, "a provider's failure is an entry"
    entry = json.loads(error.receipt.entry)
    shown = await words.opened(stack, entry["id"])
    assert shown.receipt.entry == error.receipt.entry
    return json.loads(shown.receipt.opening[32:])


async def _answers_within(stack: Deployment, someone: words.Person, seconds: float) -> None:
    """The provider answers again, by itself, before the time is up."""
    deadline = time.monotonic() + seconds
    async with stack.client("nwas-cad") as broker:
        while True:
            try:
                told = await words.allergies(broker, someone, timeout=2.0)
            except (ProviderUnavailable, ProviderTimeout):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            else:
                assert told.record.allergies.items[0].substance.display == "Allergy to latex"
                return


async def test_a_server_that_hangs_costs_no_more_than_the_callers_time(stack: Deployment, direct_care, person):
    """With the FHIR server stopped in its tracks the caller is told inside its deadline, and it is logged."""
    someone = await person()
    pid = stack.child("fhir").pid
    async with stack.client("nwas-cad") as broker:
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises((ProviderTimeout, ProviderUnavailable)) as caught:
                await words.allergies(broker, someone, timeout=1.5)
            took = time.monotonic() - started
        finally:
            os.kill(pid, signal.SIGCONT)
    assert took < 1.5 + 2
    view = await _view(stack, caught.value)
    assert (view["event"], view["requester"]) == ("provider-failure", "nwas")
    await _answers_within(stack, someone, 10)


async def test_a_server_that_is_gone_is_said_at_once_and_its_return_noticed(
    stack: Deployment, direct_care, person
):
    """With the FHIR server killed the caller is told at once; started again it answers without our help."""
    someone = await person()
    again = stack.end_fhir(signal.SIGKILL)
    try:
        async with stack.client("nwas-cad") as broker:
            started = time.monotonic()
            with pytest.raises(ProviderUnavailable) as caught:
                await words.allergies(broker, someone, timeout=5.0)
            assert time.monotonic() - started < 4.0
    finally:
        stack.start_fhir(again)
    view = await _view(stack, caught.value)
    assert (view["event"], view["requester"]) == ("provider-failure", "nwas")
    await _answers_within(stack, someone, 20)
