"""Does a version's number stand for its file and no other? Pure.

The ledger of the model (``slipway.ledger``) remembers what each number was used for, also after its version was
deleted. A number is used by a version that was verified: one whose file was never what was registered has used none,
and may be registered anew. It is written down in a pass of its own, before the version's status says that it is
verified: whoever deletes a version that was Ready deletes nothing that the ledger does not know.

Fact in status that could be seen in the cluster, and is kept so that nobody has to look: ``numbered``.
"""

from __future__ import annotations

from typing import Final

from slipway import ledger
from slipway.api.model_version import LINEAGE_ANNOTATION
from slipway.api.reasons import Reason
from slipway.kube.plan import Apply, Create
from slipway.registry.observe import Observed
from slipway.registry.verification import Verdict

LOOK_EVERY: Final = 10.0
"""Seconds between two looks at a ConfigMap that is not ours, which nobody watches."""


def holds_back(seen: Observed) -> Verdict | None:
    """Why nobody looks at the file of a version that is new: its number is not its own. One that was verified when the
    ledger knew nothing of it (an older release made both) is never held back."""
    if seen.status.numbered or seen.status.verification or seen.status.failure:
        return None
    spec, name = seen.spec, ledger.name(seen.spec.model)
    if seen.ledger is not None and not ledger.is_ours(seen.ledger):
        return Verdict(
            Reason.NAME_TAKEN,
            f"the ConfigMap {name}, which must remember the numbers of {spec.model}, exists and is not ours: delete or "
            "rename it",
            "stalled",
            again=LOOK_EVERY,
        )
    book = ledger.read(seen.ledger)
    known, mine = book.files.get(spec.version), ledger.mark(spec.artifact.digest)
    free = f"{spec.model}-v{book.last + 1}"
    if known not in (None, mine):
        words = (
            f"the number {spec.version} of {spec.model} was used for another file, sha256:{known}..., and none is used "
            f"twice: delete this version and register the file as {free}"
        )
    elif known is None and book.forgotten(spec.version) and not _vouched(seen):
        words = (
            f"the number {spec.version} of {spec.model} lies below the {ledger.KEPT} that are remembered "
            f"(ConfigMap {name}), so it may have been used: delete this version and register the file as {free}"
        )
    else:
        return None
    return Verdict(Reason.NUMBER_USED, words, "stalled", again=LOOK_EVERY)


def record(seen: Observed) -> Apply | Create | None:
    """The write that has the ledger know the version; None where it does, or cannot."""
    if seen.status.numbered or (seen.ledger is not None and not ledger.is_ours(seen.ledger)):
        return None
    spec, book = seen.spec, ledger.read(seen.ledger)
    if spec.version in book.files or book.forgotten(spec.version):
        return None
    wanted = ledger.manifest(
        seen.version["metadata"]["namespace"], spec.model, book.with_file(spec.version, spec.artifact.digest)
    )
    return Apply(wanted, seen.ledger, guarded=True) if seen.ledger else Create(wanted)


def known(seen: Observed) -> bool | None:
    """For the status of a version that is verified: whether nobody has to look into the ledger for it any more."""
    ours = seen.ledger is not None and ledger.is_ours(seen.ledger)
    return True if seen.status.numbered or ours else None


def _vouched(seen: Observed) -> bool:
    """Somebody else says what the number stands for: the original of a promotion, or the record of a training, which
    only the operator and who restores a backup may write."""
    return seen.spec.promoted_from is not None or LINEAGE_ANNOTATION in seen.version["metadata"].get("annotations", {})
