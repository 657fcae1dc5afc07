"""Every choice about a ModelVersion: the questions that are answered apart, put together in one status. Pure.

    verification   is the file what the spec says?
    evidence       is it signed, where the namespace insists?
    approval       has somebody who may agreed to it?
    archive        what becomes of its file when it is out of use?
    aliases        which of its names does it hold?
    lineage        where does it come from?
    numbers        does its number stand for this file and no other?
    promotion      if from another namespace: may it, and is it the same?

Facts in status that cannot be seen in the cluster: those of ``verification`` and ``evidence``, ``approval.at``, and
``lineage`` (copied once).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from slipway import podfacts
from slipway.api.common import Condition, Truth, set_conditions
from slipway.api.deployment import runs
from slipway.api.model_version import LINEAGE_ANNOTATION, DeploymentRef, Lineage, ModelVersionStatus
from slipway.api.reasons import Reason
from slipway.kube.drift import differs
from slipway.kube.plan import Apply, Change, Event, Plan
from slipway.registry import (
    aliases,
    approval,
    archive,
    children,
    evidence,
    lineage,
    numbers,
    promotion,
    reproductions,
    verification,
)
from slipway.registry.aliases import Names
from slipway.registry.approval import Ruling
from slipway.registry.observe import Observed
from slipway.registry.verification import Outlook, Verdict

DEPLOYMENTS: Final = 100
"""Deployments that a status lists."""
MESSAGE_LIMIT: Final = 4096
ALIAS_EVERY: Final = 1.0
"""Seconds between two looks for an alias that another version has still to let go; its change wakes this one too."""

Phase = Literal["Verifying", "AwaitingApproval", "Ready", "Rejected", "Archived", "Failed"]


@dataclass(frozen=True)
class View:
    """The observed world, the time, and the answers."""

    seen: Observed
    now: datetime
    file: Verdict
    signed: evidence.Ruling
    approval: Ruling
    end: archive.Ruling

    @property
    def phase(self) -> Phase:
        """The answers in one word: what is final first, then what keeps the version from being used."""
        if self.file.outlook == "failed":
            return "Failed"
        if self.seen.spec.archived:
            return "Archived"
        if self.approval.state == "Rejected":
            return "Rejected"
        if self.file.outlook != "verified" or not self.signed.lets_pass:
            return "Verifying"
        return "Ready" if self.approval.lets_pass else "AwaitingApproval"

    @property
    def reason(self) -> str:
        """Why the phase is what it is."""
        if self.phase == "Verifying" and self.file.outlook == "verified":
            return self.signed.reason
        by_phase: dict[Phase, str] = {
            "Archived": self.end.reason,
            "Rejected": Reason.REJECTED,
            "AwaitingApproval": Reason.AWAITING_APPROVAL,
        }
        return by_phase.get(self.phase, self.file.reason)


def decide(observed: Observed, now: datetime) -> Plan:
    """What is to be done about a version."""
    if podfacts.leaving(observed.version):
        # It lets go of its aliases, and nothing else is begun.
        return Plan(status=observed.status.model_copy(update={"held_aliases": []}))
    if mark := _unlabelled(observed, now):
        # Before anything else, and in a pass of its own: it changes the very object whose status would be written.
        return Plan(changes=(mark,))
    view = _view(observed, now)
    if entry := _entry(view):
        # In a pass of its own too: whoever deletes a version that is Ready deletes one that the ledger knows.
        return Plan(changes=(entry,), again=0.0)
    return _plan(view)


def _entry(view: View) -> Change | None:
    """What the ledger lacks of a version that was just verified."""
    return numbers.record(view.seen) if view.file.outlook == "verified" else None


def refused(observed: Observed, sentence: str, now: datetime) -> Plan | None:
    """What to tell where the API server refused what this pass wanted done. All else stays what the pass found out: a
    file that is verified is so though its signing Job may not be made."""
    if podfacts.leaving(observed.version):
        return None
    view = _view(observed, now)
    if _entry(view):
        # The ledger itself was refused: before it knows the version, nothing says that it is verified.
        view = replace(view, file=Verdict(Reason.WRITE_REFUSED, sentence, "stalled"))
    plan = _plan(view)
    if not isinstance(plan.status, ModelVersionStatus):
        return None
    told = plan.status
    known = told.message if view.phase != "Verifying" else ""
    message = (f"{known}; {sentence}" if known else sentence)[:MESSAGE_LIMIT]
    generation = observed.version["metadata"]["generation"]
    stuck: dict[str, Truth] = {"Stalled": "True", "Reconciling": "False"}
    conditions = [
        (c.type, stuck[c.type], Reason.WRITE_REFUSED, message)
        if c.type in stuck
        else (c.type, c.status, c.reason, message)
        for c in told.conditions
    ]
    status = told.model_copy(
        update={
            "message": message,
            "conditions": set_conditions(observed.status.conditions, conditions, generation, now),
        }
    )
    news = observed.status.message != message
    return Plan(status=status, events=(Event("Warning", Reason.WRITE_REFUSED, message),) if news else ())


def _view(observed: Observed, now: datetime) -> View:
    name, file = observed.version["metadata"]["name"], _file(observed, now)
    ruling = approval.rule(name, observed.spec)
    usable = file.outlook == "verified" and ruling.state != "Rejected"
    written = observed.status.lineage is not None or _lineage(observed, now)[0] is None
    signed = evidence.judge(observed, now, written=written) if usable else evidence.Ruling("Free")
    return View(observed, now, file, signed, ruling, archive.judge(observed, now))


def _file(seen: Observed, now: datetime) -> Verdict:
    """What is known of the file. Nobody reads one whose number is another's, nor a promotion's before it is one."""
    return numbers.holds_back(seen) or promotion.holds_back(seen) or verification.judge(seen, now)


def _plan(view: View) -> Plan:
    seen, old, file = view.seen, view.seen.status, view.file
    names = aliases.settle(seen.siblings, seen.spec) if view.phase == "Ready" else Names()
    origin, broken = _lineage(seen, view.now)
    message = f"{_words(view)}{_names(names)}{broken}"[:MESSAGE_LIMIT]
    runners = _runners(seen)
    facts: dict[str, Any] = {
        "observed_generation": seen.version["metadata"]["generation"],
        "phase": view.phase,
        "message": message,
        "approval": approval.record(seen.spec, old.approval, view.now),
        "held_aliases": list(names.held),
        "lineage": origin,
        "numbered": numbers.known(seen) if file.outlook == "verified" else old.numbered,
        "deployments": runners[:DEPLOYMENTS],
        "deployments_cut": max(0, len(runners) - DEPLOYMENTS) or None,
        "conditions": _conditions(view, message, names),
        **file.facts,
        **view.signed.facts,
        **view.end.facts,
    }
    status = old.model_copy(update=facts)
    waits = (file.again, view.signed.again, view.end.again, ALIAS_EVERY if names.coming else None)
    return Plan(
        changes=(*file.changes, *view.signed.changes, *view.end.changes),
        status=status,
        # In a pass after the one that copied it: doubled, it would be half of every version for ever.
        remove_annotations={LINEAGE_ANNOTATION: text} if (text := lineage.copied(seen.version)) else None,
        events=_events(view, message, names, broken),
        again=min((wait for wait in waits if wait is not None), default=None),
    )


def _words(view: View) -> str:
    """The answers in one sentence, the one that decides first."""
    file, said = view.file.message, view.approval.words
    if view.signed.words:
        file = f"{file}; {view.signed.words}"
    end = f"; {view.end.words}" if view.end.words else ""
    match view.phase:
        case "Archived" if view.file.outlook == "verified":
            return f"archived: no new Deployment may take it{end}; {file}"
        case "Archived":
            return f"{file}{end}"
        case "Rejected":
            return f"{said}; {file}"
        case "Ready" | "AwaitingApproval" if said:
            return f"{file}; {said}"
        case _:
            return file


def _names(names: Names) -> str:
    """What is to be said of the aliases that the version lists and does not hold."""
    said = [f'; the alias "{a}" is held by {name}, which has the higher number' for a, name in names.elsewhere.items()]
    return "".join([*said, *(f'; the alias "{a}" comes over from {name}' for a, name in names.coming.items())])


def _events(view: View, message: str, names: Names, broken: str) -> tuple[Event, ...]:
    """One Event a decision: when the sentence is a new one. An alias on its way is there in a moment."""
    old, file = view.seen.status, view.file
    if old.message == message or file.quiet or names.coming:
        return ()
    stuck = file.warning or view.signed.stalled or file.outlook in ("stalled", "failed")
    bad = stuck or view.phase == "Rejected" or bool(broken)
    reason = Reason.ALIAS_HELD_ELSEWHERE if names.elsewhere else view.reason
    if view.phase == "Ready" and view.approval.state == "Approved" and old.phase == "AwaitingApproval":
        reason = Reason.APPROVED
    return (Event("Warning" if bad else "Normal", reason, message),)


def _unlabelled(seen: Observed, now: datetime) -> Apply | None:
    """The labels of the way back, where the version lacks one: it was registered by hand, or by an older operator."""
    wanted = children.labelled(seen.version, seen.spec, _lineage(seen, now)[0])
    return Apply(wanted, seen.version, guarded=True) if differs(wanted["metadata"], seen.version["metadata"]) else None


def _lineage(seen: Observed, now: datetime) -> tuple[Lineage | None, str]:
    """The lineage for the status, and a part of a sentence where it is not what the version claims."""
    try:
        found = seen.status.lineage or _origin(seen, now)
    except lineage.Broken as error:
        return None, f"; its annotation {LINEAGE_ANNOTATION} is not a lineage and is ignored ({error})"
    run, said = seen.spec.training_run, ""
    if run is not None and found is not None and found.origin == "Imported":
        # The admission policy lets nobody claim it; where it is off, or a backup came back without its status.
        said = f"; spec.trainingRun names {run}, but there is no record that it made this: it counts as imported"
    return (reproductions.added(found, seen.version, seen.reproductions) if found else None), said


def _origin(seen: Observed, now: datetime) -> Lineage | None:
    if seen.spec.promoted_from is not None:
        return promotion.lineage(seen, now)
    return lineage.read(seen.version) or lineage.imported(seen.spec)


def _runners(seen: Observed) -> list[DeploymentRef]:
    """Who runs this version, by the Deployments' own word."""
    name = seen.version["metadata"]["name"]
    found = [
        DeploymentRef(name=deployment["metadata"]["name"], role=role)
        for deployment in seen.deployments
        for version, role in runs(deployment)
        if version == name
    ]
    return sorted(found, key=lambda ref: (ref.name, ref.role))


def _conditions(view: View, message: str, names: Names) -> list[Condition]:
    seen, file, reason = view.seen, view.file, view.reason
    ready, unsigned = view.phase == "Ready", not view.signed.lets_pass
    stuck = view.phase == "Rejected" or file.outlook in ("stalled", "failed") or (unsigned and view.signed.stalled)
    stuck = stuck or view.end.stalled
    moving = file.outlook == "moving" or (unsigned and not view.signed.stalled)
    verified: dict[Outlook, Truth] = {"verified": "True", "failed": "False"}
    states: list[tuple[str, Truth, str]] = [
        ("Ready", "True" if ready else "False", Reason.READY if ready else reason),
        ("Verified", verified.get(file.outlook, "Unknown"), file.reason),
        ("Reconciling", "True" if moving else "False", reason),
        ("Stalled", "True" if stuck else "False", reason),
    ]
    if view.signed.state != "Free":
        states.append(("Signed", view.signed.state, view.signed.reason))
    if view.approval.state != "Free":
        states.append(("Approved", "True" if view.approval.lets_pass else "False", view.approval.reason))
    if seen.spec.aliases and ready:
        states.append(
            ("AliasesHeld", "False", Reason.ALIAS_HELD_ELSEWHERE)
            if names.elsewhere or names.coming
            else ("AliasesHeld", "True", Reason.READY)
        )
    wanted = ((kind, state, why, message) for kind, state, why in states)
    return set_conditions(seen.status.conditions, wanted, seen.version["metadata"]["generation"], view.now)
