"""Phases and reasons, each with one sentence of meaning. The reference in ``docs/reference`` is generated from here.

A reason stands in conditions, Events and metrics; the message beside it carries the numbers.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a condition is what it is. ``Reason.X.meaning`` is the sentence."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Reason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # ------------------------------------------------------------------------------------------- any kind
    INVALID_SPEC = (
        "InvalidSpec",
        "The spec asks for something that the schema cannot refuse but that cannot work.",
    )
    WRITE_REFUSED = (
        "WriteRefused",
        "The API server refused to write a child (a quota, an admission policy); the message holds its own words.",
    )
    POD_REFUSED = (
        "PodRefused",
        "A Job's pod cannot be made (a quota, an admission policy); the message holds the API server's own words.",
    )
    NAME_TAKEN = "NameTaken", "An object of the name that a child needs exists already and is not ours."

    ACTION_REFUSED = "ActionRefused", "A person asked for an action that does not apply now; the message says why."

    # -------------------------------------------------------------------------------------------- Dataset
    CHECKING = "Checking", "A pod reads the data: their digest, their profile, schema and checks."
    CHECKS_PASSED = "ChecksPassed", "The data keep schema and checks: a TrainingRun may start from them."
    CHECKS_FAILED = "ChecksFailed", "The data do not keep schema or checks; the message says which and by how much."
    CHECK_RETRYING = (
        "CheckRetrying",
        "The check ended without a word about the data; it is tried again after a while.",
    )

    # ---------------------------------------------------------------------------------------- TrainingRun
    PENDING = "Pending", "The Job is about to be made."
    SUSPENDED = "Suspended", "spec.suspend is true: no pod runs until it is false."
    QUEUED = "Queued", "The pod is not training yet: it waits for a node, its image is pulled, or its code is fetched."
    UNSCHEDULABLE = (
        "Unschedulable",
        "No node can take the pod now; the message holds the scheduler's own words.",
    )
    IMAGE_NOT_PULLED = "ImageNotPulled", "The image cannot be had; the message holds the kubelet's own words."
    CONFIG_MISSING = (
        "ConfigMissing",
        "A ConfigMap or Secret that the pod needs does not exist or lacks a key.",
    )
    CONTAINER_NOT_CREATED = (
        "ContainerNotCreated",
        "The kubelet cannot create the container; the message holds its own words.",
    )
    STORE_MISSING = "StoreMissing", "The namespace was not given the S3 place that the spec names."
    PARENT_WITHOUT_WEIGHTS = (
        "ParentWithoutWeights",
        "The ModelVersion that spec.from names has no weights that a training could begin from.",
    )
    CODE_MISSING = "CodeMissing", "The ConfigMap that spec.code names does not exist."
    DATASET_MISSING = "DatasetMissing", "The Dataset that spec.data names does not exist."
    DATASET_CHECKING = "DatasetChecking", "The run waits until the check of a Dataset of spec.data has ended."
    DATASET_VERSION_MISSING = (
        "DatasetVersionMissing",
        "The Dataset exists, but none of its versions has the digest that spec.data asks for.",
    )
    DATASET_FAILED = (
        "DatasetFailed",
        "The data of a Dataset of spec.data do not pass its checks: no pod was made and no GPU was asked for.",
    )
    RUNNING = "Running", "A pod is training."
    RETRYING = "Retrying", "An attempt failed and the Job will start another."
    SUCCEEDED = "Succeeded", "The training ended and its ModelVersion exists."
    RECORDING = "Recording", "The training ended; its ModelVersion is being made."
    GATE_MISSED = (
        "GateMissed",
        "The training ended, but a metric is outside spec.gate: no ModelVersion was made.",
    )
    REPRODUCED = (
        "Reproduced",
        "The training made the version of spec.reproduceOf once more: the same bytes, or within the tolerance.",
    )
    NOT_REPRODUCED = (
        "NotReproduced",
        "The training made something else than the version of spec.reproduceOf; the message says what differs.",
    )
    NOT_REPRODUCIBLE = (
        "NotReproducible",
        "The version of spec.reproduceOf cannot be made once more; the message says what is missing.",
    )
    OUT_OF_MEMORY = "OutOfMemory", "The pod used more memory than spec.resources.memory and was killed."
    DEADLINE_EXCEEDED = "DeadlineExceeded", "The training took longer than spec.activeDeadline."
    EVICTED = "Evicted", "The node took the pod away."
    RESULT_UNREADABLE = "ResultUnreadable", "The pod ended well but left no result that can be read."
    TRAINING_FAILED = "TrainingFailed", "The training failed; the message holds its last words."

    # --------------------------------------------------------------------------------------- ModelVersion
    VERIFYING = "Verifying", "A pod is downloading the file, checking its digest and loading it."
    VERIFIED = "Verified", "The file has the recorded digest, loads, and has the recorded signature."
    VERIFICATION_FAILED = (
        "VerificationFailed",
        "The file is not what the spec says; the message tells the difference.",
    )
    VERIFICATION_RETRYING = (
        "VerificationRetrying",
        "The verification ended without a word about the file; it is tried again after a while.",
    )
    PROMOTION_REFUSED = (
        "PromotionRefused",
        "One of the two namespaces does not allow that a version goes from the one to the other.",
    )
    NUMBER_USED = "NumberUsed", "The version's number was used for another file, and none is used twice."
    PROMOTION_DIFFERS = "PromotionDiffers", "The version is not a copy of the one that spec.promotedFrom names."
    PROMOTION_WAITING = "PromotionWaiting", "The version that spec.promotedFrom names does not exist or is not Ready."
    AWAITING_APPROVAL = "AwaitingApproval", "The file is verified; somebody who may approve has not decided yet."
    APPROVED = "Approved", "Somebody who may approve has agreed to the version."
    REJECTED = "Rejected", "Somebody who may approve has said no: the version is not used."
    ARCHIVED = "Archived", "spec.archived is true: no new Deployment may take this version."
    SIGNING = "Signing", "A pod signs the file and its provenance, or checks their signatures."
    SIGNED = "Signed", "The file carries a signature that verifies with the namespace's key."
    SIGNING_MISCONFIGURED = (
        "SigningMisconfigured",
        "The ConfigMap slipway-signing does not say what it must; the message says what is missing.",
    )
    SIGNED_BY_ANOTHER_KEY = (
        "SignedByAnotherKey",
        "The pod that signs speaks of another key than publicKey of the ConfigMap slipway-signing.",
    )
    SIGNING_RETRYING = (
        "SigningRetrying",
        "The pod that signs ended without a word; it is tried again after a while.",
    )
    ARTIFACT_NOT_DELETED = (
        "ArtifactNotDeleted",
        "The file of an archived version could not be deleted; it is tried again after a while.",
    )
    READY = "Ready", "Everything that was asked for stands."
    ALIAS_HELD_ELSEWHERE = (
        "AliasHeldElsewhere",
        "A version with a higher number holds an alias that this one lists too.",
    )

    # ----------------------------------------------------------------------------------------- Deployment
    MODEL_VERSION_MISSING = (
        "ModelVersionMissing",
        "The ModelVersion or alias that the spec names does not exist.",
    )
    MODEL_VERSION_NOT_READY = "ModelVersionNotReady", "The ModelVersion exists but is not Ready."
    GATEWAY_MISSING = (
        "GatewayMissing",
        "The Gateway that the spec names does not exist, or Gateway API is not installed.",
    )
    ROUTE_REFUSED = "RouteRefused", "The Gateway did not accept the route; the message holds its own words."
    TRAFFIC_DIFFERS = (
        "TrafficDiffers",
        "The servers count requests in another proportion than the weights ask for; the message has the numbers.",
    )
    CANDIDATE_STARTING = "CandidateStarting", "The candidate's replicas are not all ready yet."
    ROUTE_PENDING = "RoutePending", "The gateway has not taken over the newest route yet."
    STEP_RUNNING = "StepRunning", "The rollout is at a step of spec.strategy."
    PAUSED = "Paused", "The rollout waits for a person: promote, resume or abort."
    PROMOTED = "Promoted", "The candidate became the stable version."
    ABORTED = "Aborted", "The rollout was given up and all traffic went back to the stable version."
    SUPERSEDED = "Superseded", "A newer spec.modelVersion took the candidate's place."
    PROGRESS_DEADLINE_EXCEEDED = (
        "ProgressDeadlineExceeded",
        "The candidate was not ready within spec.progressDeadline.",
    )
    REPLICAS_UNAVAILABLE = (
        "ReplicasUnavailable",
        "The stable version has fewer ready replicas than asked for.",
    )
    ARTIFACT_TAMPERED = (
        "ArtifactTampered",
        "The model file is not the one that was registered; it is not served.",
    )
    HEALTHY = "Healthy", "The stable version serves with all its replicas."
    SCALED_TO_ZERO = "ScaledToZero", "spec.replicas is 0: no replica runs, and no request is answered."
    REPLACING_PODS = (
        "ReplacingPods",
        "spec.resources, spec.server or the server image changed: the pods are replaced one by one.",
    )
    NOT_SERVING = "NotServing", "No ready replica gets the traffic; the message says why."
    FIRST_STARTING = "FirstStarting", "The first version is starting; nothing serves yet."
    ROLLOUT_STARTED = "RolloutStarted", "A version began its way to the traffic."
    RETREATING = "Retreating", "The candidate's weight goes back to 0."
    RESUMED = "Resumed", "A person let the rollout go on."
    RETIRED = "Retired", "A version that had no traffic any more gave its replicas back."
    HARM_FOUND = "HarmFound", "The evidence says that the candidate is worse than spec.analysis or the shadow allows."
    ANALYSIS_PASSED = "AnalysisPassed", "The evidence says that the candidate does no harm."
    ANALYSIS_INCONCLUSIVE = (
        "AnalysisInconclusive",
        "spec.analysis.maxDuration is over, the evidence says neither, and onInconclusive says what follows.",
    )
    ANALYSING = "Analysing", "The rollout waits for evidence."
    TEST_RUNNING = "TestRunning", "The Job of blueGreen.prePromotion runs."
    TEST_PASSED = "TestPassed", "The Job of blueGreen.prePromotion ended with 0."
    TEST_FAILED = (
        "TestFailed",
        "The Job of blueGreen.prePromotion did not end with 0; the message holds its last words.",
    )
    CANDIDATE_CRASHED = "CandidateCrashed", "A pod of the candidate crashed while the rollout ran."
    GATEWAY_CANNOT = (
        "GatewayCannot",
        "The gateway cannot do what the strategy needs; the message says what to do instead.",
    )
    NO_COUNTERS = "NoCounters", "The counters that the analysis needs cannot be read; the message says why."
    CANDIDATE_FAILED = (
        "CandidateFailed",
        "A pod of the candidate ended with a failure that trying again cannot help.",
    )
