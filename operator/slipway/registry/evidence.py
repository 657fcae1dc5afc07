"""Is the version signed, and does the namespace insist on it? Rules, the first that has something to say decides. Pure.

Facts in status that cannot be seen in the cluster: ``evidence`` (what a pod signed or found signed; a key that is
changed later takes nothing back), and ``evidenceTries``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from slipway import contract, jobfacts, podfacts
from slipway.api.common import duration, parse_time, rfc3339
from slipway.api.model_version import Evidence, SignedDocument
from slipway.api.reasons import Reason
from slipway.kube.objects import Manifest
from slipway.kube.plan import Change, Create
from slipway.registry import evidence_job
from slipway.registry.evidence_job import CONFIG_MAP, CONTAINER, PUBLIC_KEY, Signing
from slipway.registry.observe import Observed

LOOK_EVERY: Final = 10.0
"""Seconds between two looks at the ConfigMap while it is wrong, or while a try waits: it carries no label of ours."""
_MEMORY: Final = "the 256Mi that a signing pod gets"


State = Literal["Free", "True", "False", "Unknown"]


@dataclass(frozen=True)
class Ruling:
    """What is known of a version's signature.

    Attributes:
        state: ``Free`` where nobody asked for one; ``Unknown`` while a pod is at it.
        lets_pass: whether the version may be used, as far as its signature goes.
        words: a part of a sentence; empty where there is nothing to say.
    """

    state: State
    lets_pass: bool = True
    reason: str = Reason.SIGNED
    words: str = ""
    stalled: bool = False
    changes: tuple[Change, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    again: float | None = None


@dataclass(frozen=True)
class View:
    """The observed world, the time, and what the namespace asks for."""

    seen: Observed
    now: datetime
    asked: Signing

    @property
    def uid(self) -> str:
        return str(self.seen.version["metadata"]["uid"])

    @property
    def job(self) -> Manifest | None:
        return self.seen.sign_job

    @property
    def verb(self) -> str:
        return "signed" if self.asked.secret else "looked at for its signature"

    def not_yet(self, reason: str, words: str, **more: Any) -> Ruling:
        """No signature is recorded."""
        state: State = "False" if more.get("stalled") else "Unknown"
        return Ruling(state, not self.asked.required, reason, words, **more)


def judge(seen: Observed, now: datetime, *, written: bool) -> Ruling:
    """What is known of the signature, and what is to be done about it. Asked only of a file that is verified.

    Args:
        written: whether the lineage, of which the provenance is made, stands in the status already.
    """
    if seen.status.evidence is not None:
        return _recorded(seen, seen.status.evidence)
    if seen.signing is None or seen.spec.archived:
        return Ruling("Free")
    try:
        asked = evidence_job.read(seen.signing)
    except evidence_job.Broken as error:
        # Whether it is required cannot be told, so nothing passes.
        return Ruling("False", False, Reason.SIGNING_MISCONFIGURED, str(error), stalled=True, again=LOOK_EVERY)
    view = View(seen, now, asked)
    if not written:
        # An operator that was down since it made the Job finds the file verified and nothing written yet.
        return view.not_yet(Reason.SIGNING, f"it is about to be {view.verb}")
    return next(ruling for rule in RULES if (ruling := rule(view)))


def _recorded(seen: Observed, found: Evidence) -> Ruling:
    words = f"signed by the key {found.key.removeprefix('sha256:')[:16]}"
    known = seen.status.lineage is not None and seen.status.lineage.code is not None
    if found.provenance is None and known:
        words += ", without its provenance"
    return Ruling("True", words=words, changes=jobfacts.drop(seen.sign_job, str(seen.version["metadata"]["uid"])))


def _result(view: View) -> Ruling | None:
    """A pod signed it, or found its signature good."""
    found = jobfacts.result(contract.EvidenceResult, view.seen.sign_pods, CONTAINER)
    # Of another key, it is no word about this one, whatever it says.
    if found is None or found[0].key != view.asked.fingerprint:
        return None
    said, pod = found
    at = podfacts.terminated(pod, CONTAINER).get("finishedAt")
    made = Evidence(
        key=said.key,
        signature=SignedDocument(uri=said.signature, digest=said.signatureDigest),
        provenance=SignedDocument(uri=said.provenance, digest=said.provenanceDigest or "") if said.provenance else None,
        verified_at=rfc3339(parse_time(at) if at else view.now),
    )
    return Ruling("True", words=_recorded(view.seen, made).words, facts={"evidence": made, "evidence_tries": 0})


def _no_job(view: View) -> Ruling | None:
    if view.job is not None:
        return None
    seen = view.seen
    made = evidence_job.job(seen.version, seen.spec, view.asked, seen.defaults, seen.status.evidence_tries)
    return view.not_yet(Reason.SIGNING, f"it is being {view.verb}", changes=(Create(made),))


def _not_our_job(view: View) -> Ruling | None:
    job = view.job
    assert job is not None
    name = job["metadata"]["name"]
    if podfacts.leaving(job):
        return view.not_yet(Reason.SIGNING, f"an earlier Job {name} is being removed")
    if jobfacts.is_ours(job, view.uid, "sign"):
        return None
    return view.not_yet(
        Reason.NAME_TAKEN,
        f"it must be {view.verb} by a Job {name}, which exists and is not ours: delete it",
        stalled=True,
        again=LOOK_EVERY,
    )


def _asked_anew(view: View) -> Ruling | None:
    """The ConfigMap says something else than when the Job was made."""
    job = view.job
    assert job is not None
    if job["metadata"].get("annotations", {}).get(evidence_job.ASKED_ANNOTATION) == view.asked.mark:
        return None
    return view.not_yet(Reason.SIGNING, f"the ConfigMap {CONFIG_MAP} was changed", changes=jobfacts.drop(job, view.uid))


def _ended(view: View) -> Ruling | None:
    """The Job is over without a signature: a new one tries again after a while, because what was wrong (the key, the
    file, the store) may be put right where nobody sees it.

    The count goes up in status before the old Job is deleted, and each Job says which try it is: so a crash between
    the two neither loses nor repeats one.
    """
    job = view.job
    assert job is not None
    over = jobfacts.condition(job, "Failed", "Complete")
    if over is None:
        return None
    why = (
        _failure(view)
        or _other_key(view)
        or podfacts.Trouble(
            Reason.RESULT_UNREADABLE if over["type"] == "Complete" else Reason.SIGNING_RETRYING,
            str(over.get("message") or over.get("reason") or "the pod left no result"),
        )
    )
    number = int(job["metadata"].get("annotations", {}).get(evidence_job.TRY_ANNOTATION, 0))
    wait = jobfacts.wait(number)
    words = f"it is not signed: {why.message}. It is tried again {duration(wait)} later"
    if number < view.seen.status.evidence_tries:
        return view.not_yet(why.reason, words, stalled=True, changes=jobfacts.drop(job, view.uid))
    if (left := jobfacts.left(over, wait, view.now)) > 0:
        return view.not_yet(why.reason, words, stalled=True, again=min(left, LOOK_EVERY))
    return view.not_yet(why.reason, words, stalled=True, facts={"evidence_tries": number + 1})


def _starting(view: View) -> Ruling | None:
    pod = jobfacts.live(view.seen.sign_pods)
    trouble = podfacts.waiting(pod, CONTAINER) if pod else None
    if trouble is None:
        return None
    words = f"the pod that signs does not start: {trouble.message}"
    return view.not_yet(trouble.reason, words, stalled=trouble.stalled, again=LOOK_EVERY)


def _not_made(view: View) -> Ruling | None:
    trouble = jobfacts.not_made(view.job, view.seen.sign_pods, view.seen.refusals)
    return view.not_yet(trouble.reason, trouble.message, stalled=True, again=LOOK_EVERY) if trouble else None


def _signing(view: View) -> Ruling | None:
    why = _failure(view)
    # Nothing wakes us where the pod may not be made: look again until there is one.
    again = LOOK_EVERY if jobfacts.lacks_pod(view.job, view.seen.sign_pods) else None
    return view.not_yet(Reason.SIGNING, f"it is being {view.verb}" + (f"; {why.message}" if why else ""), again=again)


RULES: Final[tuple[Callable[[View], Ruling | None], ...]] = (
    _no_job,
    _not_our_job,
    _asked_anew,
    _result,
    _ended,
    _starting,
    _not_made,
    _signing,
)


def _other_key(view: View) -> podfacts.Trouble | None:
    """A pod ended well and speaks of another key than the ConfigMap's."""
    found = jobfacts.result(contract.EvidenceResult, view.seen.sign_pods, CONTAINER)
    if found is None:
        return None
    said, asked, where = found[0].key, view.asked.fingerprint, f"{PUBLIC_KEY} of the ConfigMap {CONFIG_MAP}"
    words = f"the pod speaks of the key {said}, and {where} is {asked}"
    if asked is None:
        words = f"{where} cannot be compared: write it as openssl ec -pubin -conv_form uncompressed prints it"
    return podfacts.Trouble(Reason.SIGNED_BY_ANOTHER_KEY, words)


def _failure(view: View) -> podfacts.Trouble | None:
    """Why the newest pod that failed did."""
    troubles = (podfacts.ended(pod, CONTAINER, _MEMORY) for pod in view.seen.sign_pods)
    return next((t for t in troubles if t), None)
