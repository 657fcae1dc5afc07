"""The neighbours of the operator in a story: Kubernetes' Job controller and a kubelet, as far as we depend on them.

The Job controller works by itself, like the operator. The kubelet does what the story tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from slipway import contract, podfacts
from slipway.api.common import parse_time, rfc3339
from slipway.kube.fake import FakeKube
from slipway.kube.objects import JOBS, PODS, Manifest, owned_by, owner_reference
from tests.support.builders import IMAGE_DIGEST, NAMESPACE

Clock = Callable[[], datetime]
Tell = Callable[[str, str], None]


class JobController:
    """Makes pods for Jobs and judges how they end (batch/v1: suspend, deadline, back-off limit, failure policy)."""

    def __init__(self, kube: FakeKube, clock: Clock, tell: Tell) -> None:
        self._kube, self._clock, self._tell = kube, clock, tell
        self._made: dict[str, int] = {}
        self._counted: dict[str, set[str]] = {}
        self._refused: dict[str, str] = {}

    def tick(self) -> bool:
        """Do the next thing for one Job; False where there is nothing to do."""
        return any(self._one(job) for job in self._kube.all(JOBS))

    def _one(self, job: dict[str, Any]) -> bool:
        meta, spec = job["metadata"], job["spec"]
        status = job.setdefault("status", {})
        conditions: list[dict[str, str]] = status.setdefault("conditions", [])
        if any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions):
            return False
        pods = [p for p in self._kube.all(PODS) if owned_by(p, meta["uid"])]
        live = [p for p in pods if podfacts.phase(p) in ("Pending", "Running")]
        if spec.get("suspend"):
            if not live and "startTime" not in status:
                return False
            for pod in live:
                self._kube.remove(PODS, NAMESPACE, pod["metadata"]["name"])
            status.pop("startTime", None)
            return self._write(job, "suspends")
        if "startTime" not in status:
            status["startTime"] = rfc3339(self._clock())
            return self._write(job, "starts")
        counted = self._counted.setdefault(meta["uid"], set())
        for pod in pods:
            uid, phase = pod["metadata"]["uid"], podfacts.phase(pod)
            if uid in counted or phase not in ("Succeeded", "Failed"):
                continue
            counted.add(uid)
            return self._count(job, pod, phase)
        deadline = spec.get("activeDeadlineSeconds")
        if deadline and (self._clock() - parse_time(status["startTime"])).total_seconds() >= deadline:
            for pod in live:
                self._kube.remove(PODS, NAMESPACE, pod["metadata"]["name"])
            return self._end(job, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
        return not live and self._make(job)

    def _count(self, job: dict[str, Any], pod: Manifest, phase: str) -> bool:
        status, spec = job["status"], job["spec"]
        if phase == "Succeeded":
            status["succeeded"] = 1
            return self._end(job, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        disrupted = any(c["type"] == "DisruptionTarget" for c in pod["status"].get("conditions", ()))
        if disrupted:
            return self._write(job, f"does not count {pod['metadata']['name']}")
        status["failed"] = status.get("failed", 0) + 1
        spec_of = pod["spec"]
        names = [c["name"] for c in (*spec_of.get("initContainers", ()), *spec_of["containers"])]
        name, code = next(
            ((n, c) for n in names if (c := podfacts.terminated(pod, n).get("exitCode"))), (names[-1], None)
        )
        if code == contract.EXIT_USER_ERROR:
            return self._end(
                job,
                "Failed",
                "PodFailurePolicy",
                f"Container {name} for pod {pod['metadata']['name']} failed with exit code {code}",
            )
        if status["failed"] > spec["backoffLimit"]:
            return self._end(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        return self._write(job, f"counts {pod['metadata']['name']} as failed")

    def _end(self, job: dict[str, Any], kind: str, reason: str, message: str) -> bool:
        job["status"]["conditions"].append(
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": rfc3339(self._clock()),
            }
        )
        return self._write(job, f"is {kind} ({reason})")

    def _make(self, job: dict[str, Any]) -> bool:
        name = job["metadata"]["name"]
        if why := self._kube.refusing.get(PODS):
            return self._cannot(job, why)
        self._made[name] = self._made.get(name, 0) + 1
        template = job["spec"]["template"]
        made = f"{name}-{self._made[name]:02}"
        self._kube.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": made,
                    "namespace": NAMESPACE,
                    "labels": template["metadata"]["labels"],
                    "ownerReferences": [owner_reference(job)],
                    "creationTimestamp": rfc3339(self._clock()),
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            }
        )
        self._tell("jobs", f"makes pod {made}")
        return True

    def _cannot(self, job: Manifest, why: str) -> bool:
        """Tells it in an Event, each time with another name of the pod."""
        meta, now = job["metadata"], rfc3339(self._clock())
        if self._refused.get(meta["uid"]) == now:
            return False
        self._refused[meta["uid"]] = now
        pod = f"{meta['name']}-{len(self._made)}x"
        self._kube.put(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{meta['name']}.{now}", "namespace": NAMESPACE},
                "involvedObject": {"kind": "Job", "name": meta["name"], "uid": meta["uid"]},
                "reason": "FailedCreate",
                "message": f'Error creating: pods "{pod}" is forbidden: {why}',
                "lastTimestamp": now,
            }
        )
        self._tell("jobs", f"may not make a pod of {meta['name']}")
        return True

    def _write(self, job: dict[str, Any], what: str) -> bool:
        self._kube.put(job)
        self._tell("jobs", f"Job {job['metadata']['name']} {what}")
        return True


class Kubelet:
    """Pods come to life and end when the story says so."""

    def __init__(self, kube: FakeKube, clock: Clock, tell: Tell) -> None:
        self._kube, self._clock, self._tell = kube, clock, tell

    def pod(self, job: str, phase: str) -> dict[str, Any] | None:
        """The newest pod of a Job that is in this phase."""
        pods = podfacts.newest_first(self._kube.all(PODS))
        return next(
            (
                dict(p)
                for p in pods
                if p["metadata"]["ownerReferences"][0]["name"] == job and podfacts.phase(p) == phase
            ),
            None,
        )

    def wait(self, job: str, reason: str, message: str) -> None:
        """The container cannot start yet."""
        pod = self._need(job, "Pending")
        pod["status"]["containerStatuses"] = [self._container(pod, {"waiting": {"reason": reason, "message": message}})]
        self._put(pod, f"cannot start {pod['metadata']['name']}: {reason}")

    def unschedulable(self, job: str, message: str) -> None:
        """The scheduler finds no node."""
        pod = self._need(job, "Pending")
        pod["status"]["conditions"] = [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        ]
        self._put(pod, f"finds no node for {pod['metadata']['name']}")

    def first(self, job: str, code: int, message: str = "") -> None:
        """The init container runs and ends."""
        pod, now = self._need(job, "Pending"), rfc3339(self._clock())
        name = pod["spec"]["initContainers"][0]["name"]
        ended = {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error"}
        state = {"terminated": {**ended, "startedAt": now, "finishedAt": now}}
        pod["status"]["initContainerStatuses"] = [{"name": name, "state": state}]
        if code:
            pod["status"]["phase"] = "Failed"
        self._put(pod, f"ends {name} of {pod['metadata']['name']} with exit code {code}")

    def run(self, job: str) -> None:
        """The container runs."""
        pod = self._need(job, "Pending")
        state = {"running": {"startedAt": rfc3339(self._clock())}}
        pod["status"] = {
            **{k: v for k, v in pod["status"].items() if k == "initContainerStatuses"},
            "phase": "Running",
            "podIP": f"ip-of-{pod['metadata']['name']}",
            "containerStatuses": [self._container(pod, state)],
        }
        self._put(pod, f"runs {pod['metadata']['name']}")

    def end(
        self, job: str, code: int, message: str = "", *, reason: str = "", conditions: tuple[dict[str, str], ...] = ()
    ) -> None:
        """The container ends."""
        pod = self._need(job, "Running")
        began = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        state = {
            "terminated": {
                "exitCode": code,
                "message": message,
                "reason": reason or ("Completed" if code == 0 else "Error"),
                "startedAt": began,
                "finishedAt": rfc3339(self._clock()),
            }
        }
        pod["status"] = {
            **{k: v for k, v in pod["status"].items() if k == "initContainerStatuses"},
            "phase": "Succeeded" if code == 0 else "Failed",
            "conditions": list(conditions),
            "containerStatuses": [self._container(pod, state)],
        }
        self._put(pod, f"ends {pod['metadata']['name']} with exit code {code}")

    def lose(self, job: str, phase: str) -> None:
        """The pod is gone, with whatever it said."""
        pod = self._need(job, phase)
        self._kube.remove(PODS, NAMESPACE, pod["metadata"]["name"])
        self._tell("kubelet", f"loses {pod['metadata']['name']}")

    def _need(self, job: str, phase: str) -> dict[str, Any]:
        pod = self.pod(job, phase)
        assert pod is not None, f"no pod of {job} is {phase}"
        return pod

    def _put(self, pod: dict[str, Any], what: str) -> None:
        self._kube.put(pod)
        self._tell("kubelet", what)

    @staticmethod
    def _container(pod: Manifest, state: dict[str, Any]) -> dict[str, Any]:
        spec = pod["spec"]["containers"][0]
        image_id = "" if "waiting" in state else f"{spec['image']}@{IMAGE_DIGEST}"
        return {"name": spec["name"], "image": spec["image"], "imageID": image_id, "state": state}
