"""Each rule of the schemas, accepting and refusing, on a real API server.

The tables are keyed by a sentence. Each case is one edit of an object that is right, so a refusal is about that edit;
the words asked for are those a person reads. ``test_no_rule_is_untested`` finds a rule that has no refusing case.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import yaml

from localcluster.paths import REPOSITORY
from slipway.api.common import API_VERSION
from slipway.crdgen import KINDS
from slipway.kube.objects import DATASETS, DEPLOYMENTS, MODEL_VERSIONS, TRAINING_RUNS, Resource
from tests.support import schema
from tests.support.api_server import CRDS, Api, Cause, Object, Refusal

NAMESPACE: Final = "schema"
EMPTY_NAMESPACE: Final = "schema-empty"
GONE: Final = object()
"""As a value in an edit: leave the field out."""


def dataset() -> Object:
    """Every field."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "metadata": {"name": "digits", "namespace": NAMESPACE},
        "spec": {
            "uri": "s3://data/digits/",
            "store": "default",
            "outputStore": "kept",
            "format": "Csv",
            "schema": [
                {"name": "label", "type": "Integer", "nullable": False},
                {"name": "seen at", "type": "Timestamp"},
            ],
            "checks": [
                {
                    "column": "label",
                    "notNull": True,
                    "unique": False,
                    "min": "0",
                    "max": "9.5e0",
                    "allowed": ["0", "1"],
                    "matches": "[0-9]{1,2}",
                    "maxMissing": "0.01",
                },
                {"minRows": 100, "maxRows": 100, "minFiles": 1},
                {"column": "seen at", "min": "2026-01-31", "max": "2026-02-01T12:00:00.5+01:00"},
            ],
            "quoteValues": False,
            "refresh": "1h",
            "resources": {"cpu": "500m", "memory": "512Mi"},
            "activeDeadline": "30m",
        },
    }


def training_run() -> Object:
    """Every field but ``command``, which excludes ``entrypoint``."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {"name": "digits-1", "namespace": NAMESPACE},
        "spec": {
            "model": "digits",
            "image": "registry.example/trainer:1",
            "entrypoint": "train:main",
            "code": {"configMap": "digits-code"},
            "from": {"modelVersion": "digits-v2"},
            "data": [
                {"name": "train", "uri": "s3://data/digits/", "digest": "sha256:" + "0" * 64, "store": "default"},
                {"name": "test", "uri": "s3://data/digits.npz"},
                {"name": "more", "dataset": "digits", "digest": "sha256:" + "0" * 64},
            ],
            "parameters": {"epochs": "20", "learningRate": "0.01"},
            "seed": 7,
            "resources": {"cpu": "1", "memory": "1Gi", "gpu": {"count": 1, "resourceName": "nvidia.com/gpu"}},
            "output": {"store": "default"},
            "gate": [
                {
                    "metric": "accuracy",
                    "min": "0.95",
                    "max": "1",
                    "notWorseThan": {"alias": "champion", "by": "0.01", "better": "Higher"},
                },
                {"metric": "loss", "max": "1e-1"},
            ],
            "approval": {"required": True},
            "suspend": False,
            "backoffLimit": 2,
            "activeDeadline": "2h",
            "ttlAfterFinished": "7d",
        },
    }


def reproduction() -> Object:
    """A run that makes a version once more, which has neither gate nor approval."""
    made = training_run()
    del made["spec"]["gate"], made["spec"]["approval"]
    made["spec"]["reproduceOf"] = {
        "modelVersion": "digits-v3",
        "tolerance": {"absolute": "1e-4", "relative": "0.001"},
    }
    return made


def by_git(**changes: Any) -> Object:
    """``spec.code`` with every field of git's; ``GONE`` leaves one out."""
    every = {"url": "https://git.example.com/digits", "revision": "main", "path": "training/digits", "secret": "git"}
    return {"git": {key: value for key, value in {**every, **changes}.items() if value is not GONE}}


def model_version() -> Object:
    """Every field."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": "digits-v3", "namespace": NAMESPACE},
        "spec": {
            "model": "digits",
            "version": 3,
            "artifact": {
                "uri": "s3://models/digits/v3/model.onnx",
                "digest": "sha256:" + "a" * 64,
                "size": 17432,
                "store": "default",
            },
            "signature": {
                "inputs": [
                    {"name": "x", "datatype": "FP32", "shape": [-1, 64]},
                    {"name": "mask", "datatype": "BOOL", "shape": [-1]},
                ],
                "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
            },
            "trainingRun": "digits-1",
            "approval": {"required": True, "state": "Approved", "by": "jane", "comment": "good on the holdout"},
            "aliases": ["champion", "fallback"],
            "archived": False,
            "artifactPolicy": "Keep",
        },
    }


def promoted() -> Object:
    """A copy of another namespace's version."""
    made = model_version()
    del made["spec"]["trainingRun"]
    made["spec"]["promotedFrom"] = {"namespace": "staging", "modelVersion": "digits-v3"}
    return made


def discarded() -> Object:
    """A version that was archived, and whose file is being deleted."""
    made = model_version()
    made["metadata"]["name"] = "digits-v19"
    made["spec"] |= {"version": 19, "archived": True, "artifactPolicy": "Delete"}
    return made


def deployment() -> Object:
    """Every field but ``alias`` and ``model``, which exclude ``modelVersion``."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": "digits", "namespace": NAMESPACE},
        "spec": {
            "modelVersion": "digits-v3",
            "replicas": 2,
            "resources": {"cpu": "500m", "memory": "512Mi", "gpu": {"count": 0, "resourceName": "nvidia.com/gpu"}},
            "server": {"maxBatch": 32, "maxDelay": "2ms", "queueLimit": 128, "timeout": "30s"},
            "route": {
                "gateway": {"name": "public", "namespace": "gateways", "sectionName": "http"},
                "hostnames": ["digits.example.com", "*.digits.example.com"],
                "stickiness": {"header": "x-user"},
            },
            "strategy": {
                "type": "Canary",
                "surge": True,
                "stableScale": "Keep",
                "rollbackWindow": 2,
                "canary": {
                    "steps": [
                        {"setWeight": 10},
                        {"pause": {"duration": "30s"}},
                        {"setWeight": 50},
                        {"pause": {}},
                        {"shadow": copying()},
                        {"headerRoute": {"name": "X-Tester", "value": "anna"}},
                        {"analysis": {"duration": "60s"}},
                    ],
                    "scaleDownDelay": "30s",
                },
            },
            "analysis": {
                "source": "Prometheus",
                "metrics": [
                    {"name": "errors", "maxIncrease": "0.01", "minSamples": 50},
                    {"name": "slow", "threshold": "50ms", "maxIncrease": "0.02", "minSamples": 100},
                    {"name": "refused-loans", "total": "loans_total{pod=~'$(workload)-.*'}", "bad": "refused_total"},
                ],
                "background": False,
                "maxDuration": "30m",
                "onInconclusive": "Abort",
            },
            "progressDeadline": "10m",
            "historyLimit": 5,
        },
    }


def copying() -> Object:
    """Every field of a shadow's terms."""
    return {
        "percent": 50,
        "minSamples": 1000,
        "maxDisagreement": "0.005",
        "tolerance": {"absolute": "1e-4", "relative": "0"},
        "keepExamples": 5,
        "maxDuration": "2h",
        "onInconclusive": "Abort",
    }


def blue_green() -> Object:
    """Every field of the blue/green strategy."""
    made = deployment()
    made["spec"]["strategy"] = {
        "type": "BlueGreen",
        "blueGreen": {
            "previewHostname": "preview.digits.example.com",
            "autoPromote": False,
            "prePromotion": {
                "job": {
                    "image": "registry.example/checks:1",
                    "command": ["python", "smoke.py"],
                    "configMap": "digits-checks",
                    "env": [{"name": "ROWS", "value": "100"}, {"name": "_NOTE"}],
                    "resources": {"cpu": "100m", "memory": "256Mi"},
                    "deadline": "10m",
                },
                "analysis": {"duration": "60s"},
            },
            "postPromotion": {"analysis": {"duration": "5m"}},
            "scaleDownDelay": "5m",
        },
    }
    return made


def shadowing() -> Object:
    """Every field of the shadow strategy."""
    made = deployment()
    made["spec"]["strategy"] = {"type": "Shadow", "shadow": {**copying(), "onPass": "Hold", "scaleDownDelay": "1m"}}
    return made


@dataclass(frozen=True)
class Given:
    """A right object with some fields changed. Paths are dotted, list items by number."""

    base: Object
    edits: Mapping[str, Any] = field(default_factory=dict)

    def manifest(self) -> Object:
        made = copy.deepcopy(self.base)
        for path, value in self.edits.items():
            _edit(made, path.split("."), value)
        return made


@dataclass(frozen=True)
class Refused(Given):
    """What is refused, where, and in which words."""

    at: str = ""
    words: str = ""


def _edit(node: Any, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if value is GONE:
        del node[path[-1]]
    elif isinstance(node, list):
        node[int(path[-1])] = value
    else:
        node[path[-1]] = value


def _field(path: str) -> str:
    """``spec.data.0.uri`` as the API server writes it: ``spec.data[0].uri``."""
    parts = path.split(".")
    return "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in parts).lstrip(".")


def _too_long(path: str, limit: int) -> tuple[str, str, str]:
    return path, "a" * (limit + 1), f"Too long: may not be more than {limit} bytes"


IMPORTED: Final = {
    "spec.trainingRun": GONE,
    "spec.source.description": "by the vision team",
    "spec.source.url": "https://models.example.com/digits@2",
}
"""A model that was trained elsewhere."""

# ------------------------------------------------------------------------------------------------ what is accepted

ACCEPTED: Final[dict[str, Given]] = {
    "a Dataset with every field": Given(dataset()),
    "a Dataset that says no more than it must": Given(dataset(), {"spec": {"uri": "s3://data/x", "format": "Csv"}}),
    "files of any kind": Given(
        dataset(), {"spec.format": "Files", "spec.schema": GONE, "spec.checks": [{"minFiles": 3}]}
    ),
    "images": Given(
        dataset(),
        {
            "spec.format": "Images",
            "spec.schema": [{"name": "label", "type": "String", "nullable": False}],
            "spec.checks": [{"column": "width", "min": "32"}, {"minFiles": 10}],
        },
    ),
    "the longest name of a Dataset": Given(dataset(), {"metadata.name": "d" * 63}),
    "a Dataset that is read every minute": Given(dataset(), {"spec.refresh": "60s"}),
    "the most columns": Given(dataset(), {"spec.schema": [{"name": f"c{i}", "type": "Number"} for i in range(1000)]}),
    "the most checks": Given(dataset(), {"spec.checks": [{"column": "label", "min": str(i)} for i in range(200)]}),
    "no missing value at all": Given(dataset(), {"spec.checks": [{"column": "label", "maxMissing": "0"}]}),
    "no rows": Given(dataset(), {"spec.checks": [{"minRows": 0, "maxRows": 0}]}),
    "a TrainingRun with every field": Given(training_run()),
    "a ModelVersion with every field": Given(model_version()),
    "a Deployment with every field": Given(deployment()),
    "a TrainingRun that says no more than it must": Given(
        training_run(), {"spec": {"model": "digits", "entrypoint": "train:main"}}
    ),
    "a ModelVersion that says no more than it must": Given(
        model_version(),
        {f"spec.{name}": GONE for name in ("trainingRun", "approval", "aliases", "archived", "artifactPolicy")},
    ),
    "a ModelVersion that waits for approval": Given(model_version(), {"spec.approval": {"required": True}}),
    "a ModelVersion that was rejected": Given(
        model_version(), {"spec.approval": {"state": "Rejected", "by": "system:serviceaccount:ci:gate"}}
    ),
    "an imported ModelVersion": Given(model_version(), IMPORTED),
    "a promoted ModelVersion": Given(promoted()),
    "a source that is a page": Given(model_version(), {**IMPORTED, "spec.source": {"url": "http://example.com"}}),
    "a Deployment that says no more than it must": Given(deployment(), {"spec": {"modelVersion": "digits-v3"}}),
    "a run that makes a version once more": Given(reproduction()),
    "a run that makes a version once more, by its name alone": Given(
        reproduction(), {"spec.reproduceOf": {"modelVersion": "digits-v1"}}
    ),
    "no tolerance at all": Given(reproduction(), {"spec.reproduceOf.tolerance": {"absolute": "0", "relative": "0"}}),
    "a program instead of an entrypoint": Given(
        training_run(), {"spec.entrypoint": GONE, "spec.command": ["python", "train.py", ""]}
    ),
    "a program of the longest allowed text": Given(
        training_run(), {"spec.entrypoint": GONE, "spec.command": ["x" * 4096] * 8}
    ),
    "code by git over https": Given(training_run(), {"spec.code": by_git()}),
    "code by git over http on a port, without a Secret and all of it": Given(
        training_run(), {"spec.code": by_git(url="http://git.example.com:3000/a/b.git", secret=GONE, path=GONE)}
    ),
    "code by git over ssh": Given(training_run(), {"spec.code": by_git(url="ssh://git@git.example.com:2222/digits")}),
    "code by git over ssh, as people write it": Given(
        training_run(), {"spec.code": by_git(url="git@git.example.com:team/digits.git", revision="0" * 40)}
    ),
    "an entrypoint in a package": Given(training_run(), {"spec.entrypoint": "my_pkg.train_2:Main"}),
    "an entrypoint in a package named pyx": Given(training_run(), {"spec.entrypoint": "pkg.pyx:main"}),
    "the longest name of a TrainingRun": Given(training_run(), {"metadata.name": "r" * 52}),
    "the longest name of a Deployment": Given(deployment(), {"metadata.name": "d" * 40}),
    "the longest name of a model": Given(training_run(), {"spec.model": "m" * 40}),
    "a model of one letter": Given(training_run(), {"spec.model": "m"}),
    "the longest name of a ModelVersion": Given(
        model_version(),
        {"metadata.name": "m" * 40 + "-v999999999", "spec.model": "m" * 40, "spec.version": 999_999_999},
    ),
    "a ModelVersion of a model whose name looks like a version": Given(
        model_version(), {"metadata.name": "llama-v2-v3", "spec.model": "llama-v2"}
    ),
    "the whole bucket as data": Given(training_run(), {"spec.data.0.uri": "s3://data/"}),
    "a key with odd characters": Given(training_run(), {"spec.data.0.uri": "s3://my.data-1/a b".replace(" ", "+ü")}),
    "a name of data with an underscore": Given(training_run(), {"spec.data.0.name": "train_set-2"}),
    "the most parameters": Given(training_run(), {"spec.parameters": {f"p{i}": "1" for i in range(128)}}),
    "an empty parameter": Given(training_run(), {"spec.parameters": {"note": ""}}),
    "the longest name of a parameter": Given(training_run(), {"spec.parameters": {"p" * 63: "1"}}),
    "the longest text in parameters": Given(
        training_run(), {"spec.parameters": {f"p{i}": "x" * 1024 for i in range(32)}}
    ),
    "the largest seed": Given(training_run(), {"spec.seed": 2**32 - 1}),
    "CPU as a number without quotes": Given(training_run(), {"spec.resources.cpu": 2}),
    "a thousandth of a CPU": Given(training_run(), {"spec.resources.cpu": "1m"}),
    "a fraction of a CPU": Given(deployment(), {"spec.resources.cpu": "1.5"}),
    "memory in plain bytes, enough of them": Given(training_run(), {"spec.resources.memory": 4194304}),
    "memory as a fraction": Given(deployment(), {"spec.resources.memory": "1.5Gi"}),
    "memory in powers of ten": Given(deployment(), {"spec.resources.memory": "1e9"}),
    "no GPU": Given(training_run(), {"spec.resources.gpu.count": 0}),
    "the most GPUs": Given(training_run(), {"spec.resources.gpu.count": 64}),
    "another vendor's GPU": Given(training_run(), {"spec.resources.gpu.resourceName": "amd.com/gpu"}),
    "a slice of a GPU": Given(training_run(), {"spec.resources.gpu.resourceName": "nvidia.com/mig-1g.5gb"}),
    "a gate with only a lower bound": Given(training_run(), {"spec.gate": [{"metric": "accuracy", "min": "-0.5"}]}),
    "a gate by the champion alone": Given(
        training_run(),
        {"spec.gate": [{"metric": "loss", "notWorseThan": {"alias": "champion", "better": "Lower", "data": ["test"]}}]},
    ),
    "a gate whose one bound says what is better": Given(
        training_run(), {"spec.gate": [{"metric": "loss", "max": "1", "notWorseThan": {"alias": "a", "by": "0"}}]}
    ),
    "a gate of one value": Given(training_run(), {"spec.gate": [{"metric": "n", "min": "1e0", "max": "1.0"}]}),
    "no second attempt": Given(training_run(), {"spec.backoffLimit": 0}),
    "the most attempts": Given(training_run(), {"spec.backoffLimit": 20}),
    "a deadline of many units": Given(training_run(), {"spec.activeDeadline": "1d12h30m15s"}),
    "the longest deadline": Given(training_run(), {"spec.activeDeadline": "9999d99999h999999m99999999s"}),
    "a Job that goes at once": Given(training_run(), {"spec.ttlAfterFinished": "0s"}),
    "the most data sets": Given(
        training_run(), {"spec.data": [{"name": f"d{i}", "uri": "s3://data/x"} for i in range(32)]}
    ),
    "the smallest version": Given(model_version(), {"metadata.name": "digits-v1", "spec.version": 1}),
    "a file of one byte": Given(model_version(), {"spec.artifact.size": 1}),
    "a file of 2 GiB": Given(model_version(), {"spec.artifact.size": 2**31}),
    "a scalar for each row": Given(model_version(), {"spec.signature.outputs.0.shape": [-1]}),
    "a tensor of 16 dimensions": Given(model_version(), {"spec.signature.inputs.0.shape": [-1] + [1] * 15}),
    "text as input": Given(model_version(), {"spec.signature.inputs.0.datatype": "BYTES"}),
    "an input with a name that exporters make": Given(model_version(), {"spec.signature.inputs.0.name": "input.1:0"}),
    "the most aliases": Given(model_version(), {"spec.aliases": [f"a{i}" for i in range(8)]}),
    "a Deployment that follows an alias": Given(
        deployment(), {"spec.modelVersion": GONE, "spec.model": "digits", "spec.alias": "champion"}
    ),
    "one replica": Given(deployment(), {"spec.replicas": 1}),
    "scaled to zero": Given(deployment(), {"spec.replicas": 0}),
    "in place": Given(deployment(), {"spec.strategy.surge": False, "spec.strategy.canary.steps": [{"setWeight": 50}]}),
    "in place, scaled to zero": Given(
        deployment(), {"spec.strategy": {"type": "Canary", "surge": False}, "spec.replicas": 0}
    ),
    "shared replicas": Given(deployment(), {"spec.strategy.stableScale": "Share"}),
    "the most replicas": Given(deployment(), {"spec.replicas": 1000}),
    "a server without batching": Given(deployment(), {"spec.server.maxBatch": 1, "spec.server.maxDelay": "0ms"}),
    "a server with the longest delay": Given(deployment(), {"spec.server.maxDelay": "1s", "spec.server.timeout": "1d"}),
    "a delay just below the timeout": Given(
        deployment(), {"spec.server.maxDelay": "999ms", "spec.server.timeout": "0d1s"}
    ),
    "a server at its limits": Given(deployment(), {"spec.server.maxBatch": 4096, "spec.server.queueLimit": 65536}),
    "a server that lets one request wait": Given(deployment(), {"spec.server.queueLimit": 1}),
    "a Gateway of this namespace": Given(deployment(), {"spec.route.gateway": {"name": "public"}}),
    "a Gateway with dots in its name": Given(deployment(), {"spec.route.gateway.name": "eu.public"}),
    "one step to everything": Given(deployment(), {"spec.strategy.canary.steps": [{"setWeight": 100}]}),
    "a first step of one percent": Given(deployment(), {"spec.strategy.canary.steps": [{"setWeight": 1}]}),
    "the same weight twice": Given(
        deployment(), {"spec.strategy.canary.steps": [{"setWeight": 10}, {"pause": {}}, {"setWeight": 10}]}
    ),
    "the most steps": Given(deployment(), {"spec.strategy.canary.steps": [{"setWeight": i + 1} for i in range(50)]}),
    "clients that a cookie keeps": Given(deployment(), {"spec.route.stickiness": {"cookie": "digits_v-1"}}),
    "the longest cookie": Given(deployment(), {"spec.route.stickiness": {"cookie": "c" * 64}}),
    "the longest header to keep clients by": Given(deployment(), {"spec.route.stickiness": {"header": "h" * 64}}),
    "a blue/green Deployment with every field": Given(blue_green()),
    "a shadow with every field": Given(shadowing()),
    "a strategy by its name alone": Given(deployment(), {"spec.strategy": {"type": "BlueGreen"}}),
    "a shadow by its name alone": Given(deployment(), {"spec.strategy": {"type": "Shadow"}}),
    "a switch at once": Given(deployment(), {"spec.strategy": {"type": "Canary"}}),
    "blue/green without a gateway": Given(
        blue_green(),
        {
            "spec.route": GONE,
            "spec.strategy.blueGreen.previewHostname": GONE,
            "spec.strategy.blueGreen.prePromotion.analysis": GONE,
        },
    ),
    "a canary without a gateway": Given(
        deployment(), {"spec.route": GONE, "spec.strategy.canary.steps": [{"setWeight": 10}, {"analysis": {}}]}
    ),
    "a test that is the image's own program": Given(
        blue_green(), {"spec.strategy.blueGreen.prePromotion": {"job": {"image": "registry.example/checks:1"}}}
    ),
    "a person before the switch and no other test": Given(
        blue_green(), {"spec.strategy.blueGreen": {"autoPromote": False}}
    ),
    "a look back after the switch and no other test": Given(
        blue_green(), {"spec.strategy.blueGreen": {"postPromotion": {"analysis": {}}}}
    ),
    "no analysis where nothing asks for one": Given(
        deployment(), {"spec.analysis": GONE, "spec.strategy.canary.steps": [{"setWeight": 10}, {"pause": {}}]}
    ),
    "an analysis in the background only": Given(
        deployment(), {"spec.analysis": {"metrics": [{"name": "errors"}]}, "spec.strategy": {"type": "Canary"}}
    ),
    "testers first, then their evidence": Given(
        deployment(),
        {
            "spec.strategy.canary.steps": [
                {"headerRoute": {"name": "x", "value": "!"}},
                {"analysis": {}},
                {"setWeight": 100},
            ]
        },
    ),
    "a shadow first, then a canary": Given(
        deployment(), {"spec.strategy.canary.steps": [{"shadow": {}}, {"setWeight": 10}, {"analysis": {}}]}
    ),
    "two shadows that differ in what their pods need not know": Given(
        deployment(),
        {
            "spec.strategy.canary.steps": [
                {"shadow": {"percent": 10, "keepExamples": 5, "tolerance": {"absolute": "0.1"}}},
                {"setWeight": 10},
                {
                    "shadow": {
                        "percent": 100,
                        "minSamples": 5000,
                        "maxDisagreement": "0.001",
                        "keepExamples": 5,
                        "tolerance": {"absolute": "0.1", "relative": "1e-3"},
                        "maxDuration": "1h",
                        "onInconclusive": "Promote",
                    }
                },
            ]
        },
    ),
    "the most shadows": Given(deployment(), {"spec.strategy.canary.steps": [{"shadow": {}}] * 50}),
    "a header's value with spaces inside": Given(
        deployment(), {"spec.strategy.canary.steps.5.headerRoute.value": "Anna of the tests"}
    ),
    "the longest header": Given(
        deployment(), {"spec.strategy.canary.steps.5.headerRoute": {"name": "n" * 64, "value": "v" * 256}}
    ),
    "a shadow of the smallest share": Given(
        shadowing(),
        {"spec.strategy.shadow": {"percent": 1, "minSamples": 1, "maxDisagreement": "1e-9", "keepExamples": 0}},
    ),
    "a shadow of everything": Given(
        shadowing(),
        {"spec.strategy.shadow": {"percent": 100, "minSamples": 10_000_000, "maxDisagreement": "1"}},
    ),
    "the most examples": Given(shadowing(), {"spec.strategy.shadow.keepExamples": 100}),
    "the most metrics": Given(
        deployment(),
        {"spec.analysis.metrics": [{"name": f"m{i}", "total": "t" * 2048, "bad": "b" * 2048} for i in range(8)]},
    ),
    "the longest name of a metric": Given(deployment(), {"spec.analysis.metrics.2.name": "m" * 40}),
    "a threshold of a minute": Given(deployment(), {"spec.analysis.metrics.1.threshold": "1m"}),
    "a threshold of many units": Given(deployment(), {"spec.analysis.metrics.1.threshold": "1s500ms"}),
    "the pods' own counters": Given(
        deployment(),
        {"spec.analysis": {"source": "Pods", "metrics": [{"name": "errors"}, {"name": "slow", "threshold": "1ms"}]}},
    ),
    "replicas that go at once": Given(deployment(), {"spec.strategy.canary.scaleDownDelay": "0s"}),
    "the widest rollback window": Given(deployment(), {"spec.strategy.rollbackWindow": 49, "spec.historyLimit": 50}),
    "no history": Given(deployment(), {"spec.historyLimit": 0, "spec.strategy.rollbackWindow": 0}),
    "the longest history": Given(deployment(), {"spec.historyLimit": 50}),
}

# ------------------------------------------------------------------------------------------------- what is refused

MODEL_NAME: Final = "write a model's name of a-z, 0-9 and '-' that begins with a letter, for example digits"
OBJECT_NAME: Final = "write an object's name of a-z, 0-9, '-' and '.' that begins and ends with a letter or a digit"
NAME: Final = "write a name of a-z, 0-9 and '-' that begins and ends with a letter or a digit"
PLACE: Final = "write the name of an S3 place of this namespace: NAME where its ConfigMap is slipway-store-NAME"
DIGEST: Final = "write a digest as sha256: and 64 digits of 0-9 and a-f"
VERSION_NAME: Final = "write the name of a ModelVersion, <model>-v<number>, for example digits-v3"
_NOT_NEGATIVE: Final = "write a number that is not negative as text"
ALIAS: Final = "write an alias of a-z, 0-9 and '-' that begins with a letter, for example champion"
DURATION: Final = "write a duration like 500ms, 30s, 10m, 1h30m or 7d"
LONGER: Final = "write a duration longer than zero, like 30s or 10m"
SECONDS: Final = "write a duration in whole seconds or more, like 30s or 10m"
CPU: Final = "write an amount of CPU above zero, like 500m (half a core) or 2 (two cores)"
MEMORY: Final = "write an amount of memory with its unit, like 512Mi or 2Gi, at least 4Mi: without a unit it is bytes"
GPU: Final = "write an extended resource as <domain>/<name>, for example nvidia.com/gpu"
NUMBER: Final = 'write a number as text, like "0.95" or "1e-3"'
ENTRYPOINT: Final = "write module:function, for example train:main for the function main of train.py"
HOSTNAME: Final = "write a host name in lower case without scheme, port or path, for example digits.example.com"
SHAPE: Final = "write one number for each dimension, the batch first: -1 for any size, else 1 or more"
SHADOWS: Final = "give them the same tolerance and the same keepExamples"
STEP: Final = "each step is exactly one of {setWeight: N}, {pause: {}}, {pause: {duration: 30s}}, {analysis: {}}"
STICKY: Final = "write either a cookie's name (the gateway sets it) or a header's name (the client sends it)"
WORD: Final = "write a name of letters, digits, '-' and '_', for example x-user"
PREVIEW: Final = "write a host name in lower case without scheme, port, path or '*', for example preview.digits"
SHARE: Final = 'write a share above 0 and at most 1 as text, like "0.01" for one in a hundred'
NOT_NEGATIVE: Final = 'write a number that is not negative as text, like "1e-4" or "0.5"'
THRESHOLD: Final = "threshold belongs to the metric slow, and slow needs one: {name: slow, threshold: 50ms}"
METRIC: Final = "errors and slow are measured by Slipway; any other metric needs total and bad, two PromQL counters"

INTERVAL: Final = "write a minute or more, like 10m, 1h or 7d"
BOUND: Final = 'write a number or a time as text, like "0.5", "1e-3", "2026-01-31" or "2026-01-31T12:00:00Z"'
MISSING: Final = 'write a share from 0 to 1 as text, like "0.01" for one in a hundred'
URI: Final = "write s3://bucket/key for one file"

_One = tuple[str, Any, str]
"""Path, wrong value, words."""

_DATASET: Final[dict[str, _One]] = {
    "nothing": ("spec", GONE, "Required value"),
    "a name with a dot": ("metadata.name", "digits.2026", "metadata.name must be at most 63 characters of a-z"),
    "no address": ("spec.uri", GONE, "Required value"),
    "an address on a web server": ("spec.uri", "https://example.com/digits", URI),
    "an address that is too long": ("spec.uri", "s3://data/" + "x" * 1020, "may not be more than 1024 bytes"),
    "a place with a capital": ("spec.store", "Default", PLACE),
    "a place of too long a name": _too_long("spec.store", 40),
    "an output place with a capital": ("spec.outputStore", "Default", PLACE),
    "an output place of too long a name": _too_long("spec.outputStore", 40),
    "no format": ("spec.format", GONE, "Required value"),
    "a format in capitals": ("spec.format", "CSV", "Unsupported value"),
    "a column without a name": ("spec.schema.0.name", GONE, "Required value"),
    "a column of no name": ("spec.schema.0.name", "", "should be at least 1 chars long"),
    "a column of too long a name": _too_long("spec.schema.0.name", 253),
    "a column without a type": ("spec.schema.0.type", GONE, "Required value"),
    "a column of a type that does not exist": ("spec.schema.0.type", "float", "Unsupported value"),
    "two columns of one name": ("spec.schema.1.name", "label", "spec.schema[1]: Duplicate value"),
    "too many columns": (
        "spec.schema",
        [{"name": f"c{i}", "type": "Number"} for i in range(1001)],
        "Too many: 1001: must have at most 1000 items",
    ),
    "too many checks": (
        "spec.checks",
        [{"column": "label", "min": str(i)} for i in range(201)],
        "Too many: 201: must have at most 200 items",
    ),
    "a check without a rule": ("spec.checks.0", {"column": "label"}, "write at least one rule: of a column notNull"),
    "a check that says no twice": (
        "spec.checks.0",
        {"column": "label", "notNull": False, "unique": False},
        "write at least one rule",
    ),
    "a rule of a column without the column": ("spec.checks.0.column", GONE, "write the column that notNull, unique"),
    "a column that must not be missing, without its name": (
        "spec.checks.0",
        {"notNull": True},
        "write the column that notNull, unique",
    ),
    "a rule of the whole set with a column": (
        "spec.checks.1.column",
        "label",
        "leave column out beside minRows, maxRows, minFiles",
    ),
    "fewer rows at most than at least": ("spec.checks.1.minRows", 101, "minRows must not be greater than maxRows"),
    "a check of a column of no name": ("spec.checks.0.column", "", "should be at least 1 chars long"),
    "a check of a column of too long a name": _too_long("spec.checks.0.column", 253),
    "a least value that is none": ("spec.checks.0.min", "zero", BOUND),
    "a least value that is too long": ("spec.checks.0.min", "1" * 41, "may not be more than 40 bytes"),
    "a greatest value that is a day of no calendar's": ("spec.checks.0.max", "31.01.2026", BOUND),
    "a greatest value that is too long": ("spec.checks.0.max", "1" * 41, "may not be more than 40 bytes"),
    "no allowed value": ("spec.checks.0.allowed", [], "should have at least 1 items"),
    "too many allowed values": (
        "spec.checks.0.allowed",
        [str(i) for i in range(257)],
        "Too many: 257: must have at most 256 items",
    ),
    "an allowed value twice": ("spec.checks.0.allowed", ["0", "0"], "spec.checks[0].allowed[1]: Duplicate value"),
    "an allowed value that is too long": _too_long("spec.checks.0.allowed.0", 253),
    "an empty expression": ("spec.checks.0.matches", "", "should be at least 1 chars long"),
    "an expression that is none": ("spec.checks.0.matches", "([0-9]", "write a regular expression of RE2"),
    "an expression that is too long": _too_long("spec.checks.0.matches", 512),
    "a share in percent": ("spec.checks.0.maxMissing", "1%", MISSING),
    "more than all missing": ("spec.checks.0.maxMissing", "1.1", MISSING),
    "a share that is too long": ("spec.checks.0.maxMissing", "0." + "0" * 15, "may not be more than 16 bytes"),
    "fewer than no rows": ("spec.checks.1.minRows", -1, "should be greater than or equal to 0"),
    "more rows than can be counted": ("spec.checks.1.minRows", 2**53 + 1, "should be less than or equal to"),
    "fewer than no rows at most": ("spec.checks.1.maxRows", -1, "should be greater than or equal to 0"),
    "more rows at most than can be counted": ("spec.checks.1.maxRows", 2**53 + 1, "should be less than or equal to"),
    "no files at least": ("spec.checks.1.minFiles", 0, "should be greater than or equal to 1"),
    "more files than can be counted": ("spec.checks.1.minFiles", 2**53 + 1, "should be less than or equal to"),
    "values that are quoted now and then": ("spec.quoteValues", "sometimes", "must be of type boolean"),
    "a refresh that is no duration": ("spec.refresh", "hourly", DURATION),
    "a refresh in milliseconds": ("spec.refresh", "60000ms", SECONDS),
    "a refresh all the time": ("spec.refresh", "0h", LONGER),
    "a refresh each second": ("spec.refresh", "59s", INTERVAL),
    "a refresh that is too long": ("spec.refresh", "0" * 32 + "h", "may not be more than 32 bytes"),
    "no CPU": ("spec.resources.cpu", "0", CPU),
    "CPU that is too long": ("spec.resources.cpu", "1" * 33, "may not be more than 32 bytes"),
    "memory in thousandths": ("spec.resources.memory", "512m", MEMORY),
    "memory that is too long": ("spec.resources.memory", "1" * 33, "may not be more than 32 bytes"),
    "a GPU": ("spec.resources.gpu", {"count": 1}, "unknown field"),
    "a deadline that is no duration": ("spec.activeDeadline", "soon", DURATION),
    "a deadline in milliseconds": ("spec.activeDeadline", "5ms", SECONDS),
    "a deadline of nothing": ("spec.activeDeadline", "0s", LONGER),
    "a deadline that is too long": ("spec.activeDeadline", "0" * 32 + "h", "may not be more than 32 bytes"),
}

_TRAINING_RUN: dict[str, _One] = {
    "no model": ("spec.model", GONE, "Required value"),
    "a model's name in capitals": ("spec.model", "Digits", MODEL_NAME),
    "an empty model's name": ("spec.model", "", MODEL_NAME),
    "a model's name that begins with a digit": ("spec.model", "3digits", MODEL_NAME),
    "a model's name that ends with a dash": ("spec.model", "digits-", MODEL_NAME),
    "a model's name that is too long": _too_long("spec.model", 40),
    "an image's name with a space": ("spec.image", "trainer 1", "write an image's name without spaces"),
    "an empty image's name": ("spec.image", "", "leave it out for the chart's trainer image"),
    "an image's name that is too long": _too_long("spec.image", 512),
    "an entrypoint without a function": ("spec.entrypoint", "train", ENTRYPOINT),
    "an entrypoint that calls": ("spec.entrypoint", "train:main()", ENTRYPOINT),
    "an entrypoint with a path": ("spec.entrypoint", "src/train:main", ENTRYPOINT),
    "an entrypoint with a dot for the colon": ("spec.entrypoint", "train.main", ENTRYPOINT),
    "an entrypoint with two dots": ("spec.entrypoint", "pkg..train:main", ENTRYPOINT),
    "an entrypoint that names the file": ("spec.entrypoint", "train.py:main", "write the module without .py"),
    "an entrypoint that is too long": (
        "spec.entrypoint",
        "m" * 250 + ":main",
        "Too long: may not be more than 253 bytes",
    ),
    "nothing to begin from": ("spec.from", {}, "spec.from.modelVersion: Required value"),
    "a version to begin from without its number": ("spec.from.modelVersion", "digits", VERSION_NAME),
    "a version to begin from of too long a name": _too_long("spec.from.modelVersion", 63),
    "code of no kind": ("spec.code", {}, "write either configMap (a ConfigMap with the files) or git (a repository)"),
    "code of two kinds": ("spec.code", {"configMap": "digits-code", **by_git()}, "not both and not neither"),
    "an address with a password": (
        "spec.code",
        by_git(url="https://anna:secret@git.example.com/digits"),
        "put them into a Secret and name it in code.git.secret",
    ),
    "an ssh address with a password": (
        "spec.code",
        by_git(url="ssh://git:secret@git.example.com/digits"),
        "leave user and password out of the address",
    ),
    "an address of a kind that git knows and we do not": (
        "spec.code",
        by_git(url="file:///etc"),
        "write https://HOST/PATH, http://HOST/PATH, ssh://git@HOST/PATH or git@HOST:PATH",
    ),
    "an address with a token in it": (
        "spec.code",
        by_git(url="https://git.example.com/digits?private_token=x"),
        "without spaces, '?' and '#'",
    ),
    "an address that leads elsewhere": (
        "spec.code",
        by_git(url="https://git.example.com/team/../other/digits"),
        "without '.' and '..' parts",
    ),
    "an address that leads elsewhere when it is decoded": (
        "spec.code",
        by_git(url="https://git.example.com/team/%2E%2e/other"),
        "without encoded dots and slashes",
    ),
    "an address that would be an option": (
        "spec.code",
        by_git(url="ssh://-oProxyCommand=x/digits"),
        "write https://HOST/PATH",
    ),
    "an address that is too long": ("spec.code", by_git(url="https://a/" + "x" * 503), "may not be more than 512"),
    "no address": ("spec.code", by_git(url=GONE), "Required value"),
    "an ssh address without a Secret": (
        "spec.code",
        by_git(url="git@git.example.com:digits", secret=GONE),
        "the name of a Secret with ssh-privatekey and known_hosts",
    ),
    "no revision": ("spec.code", by_git(revision=GONE), "Required value"),
    "a revision that would be an option": ("spec.code", by_git(revision="--all"), "write a branch, a tag or a whole"),
    "a revision with a space": ("spec.code", by_git(revision="my branch"), "for example main or v1.2"),
    "a revision that is too long": ("spec.code", by_git(revision="x" * 256), "may not be more than 255"),
    "a path that leads out": ("spec.code", by_git(path="../other"), "write a folder relative to the root"),
    "a path from the root": ("spec.code", by_git(path="/training"), "without '/' at either end"),
    "a path with a line end": ("spec.code", by_git(path="a\nb"), "write a folder relative to the root"),
    "a path that is too long": ("spec.code", by_git(path="x" * 513), "may not be more than 512"),
    "a git Secret's name in capitals": ("spec.code", by_git(secret="Git"), OBJECT_NAME),
    "a git Secret's name that is too long": ("spec.code", by_git(secret="a" * 254), "may not be more than 253"),
    "a ConfigMap's name in capitals": ("spec.code.configMap", "Code", OBJECT_NAME),
    "a ConfigMap's name that is too long": _too_long("spec.code.configMap", 253),
    "too many data sets": (
        "spec.data",
        [{"name": f"d{i}", "uri": "s3://data/x"} for i in range(33)],
        "Too many: 33: must have at most 32 items",
    ),
    "two data sets of one name": ("spec.data.1.name", "train", "spec.data[1]: Duplicate value"),
    "data without a name": ("spec.data.0.name", GONE, "Required value"),
    "data without a place": ("spec.data.0.uri", GONE, "write either uri (an address in S3) or dataset (the name of"),
    "data with an address and a Dataset": ("spec.data.0.dataset", "digits", "write either uri (an address in S3) or"),
    "a Dataset in a place": ("spec.data.2.store", "lake", "leave store out beside dataset: the Dataset says in which"),
    "a Dataset with a slash in its name": ("spec.data.2.dataset", "team/digits", "write the name of a Dataset of this"),
    "a Dataset of too long a name": _too_long("spec.data.2.dataset", 63),
    "data with a space in its name": ("spec.data.0.name", "my data", "that begins with a letter, for example train"),
    "data with too long a name": _too_long("spec.data.0.name", 40),
    "data on a web server": ("spec.data.0.uri", "https://example.com/digits", "write s3://bucket/key for one file"),
    "a bucket without a slash": ("spec.data.0.uri", "s3://data", "s3://bucket/prefix/ for everything below it"),
    "a bucket in capitals": ("spec.data.0.uri", "s3://Data/x", "write s3://bucket/key for one file"),
    "a URI with a space": ("spec.data.0.uri", "s3://data/a b", "write s3://bucket/key for one file"),
    "a URI that is too long": ("spec.data.0.uri", "s3://data/" + "x" * 1020, "may not be more than 1024 bytes"),
    "a digest without its kind": ("spec.data.0.digest", "0" * 64, DIGEST),
    "a digest in capitals": ("spec.data.0.digest", "sha256:" + "A" * 64, DIGEST),
    "a digest that is too short": ("spec.data.0.digest", "sha256:abc", DIGEST),
    "a digest that is too long": ("spec.data.0.digest", "sha256:" + "0" * 65, "may not be more than 71 bytes"),
    "data in a place with a capital": ("spec.data.0.store", "Default", PLACE),
    "data in a place of too long a name": _too_long("spec.data.0.store", 40),
    "a parameter that is a number": ("spec.parameters.epochs", 20, 'must be of type string: "integer"'),
    "a parameter without a name": ("spec.parameters", {"": "1"}, "a parameter's name has 1 to 63 characters"),
    "a parameter of too long a name": (
        "spec.parameters",
        {"p" * 64: "1"},
        "a parameter's name has 1 to 63 characters",
    ),
    "a parameter that is too long": ("spec.parameters.epochs", "1" * 1025, "may not be more than 1024 bytes"),
    "too many parameters": ("spec.parameters", {f"p{i}": "" for i in range(129)}, "must have at most 128 items"),
    "too much text in parameters": (
        "spec.parameters",
        {f"p{i}": "x" * 1024 for i in range(33)},
        "what is longer belongs in code or in the data",
    ),
    "a negative seed": ("spec.seed", -1, "should be greater than or equal to 0"),
    "a seed of more than 32 bits": ("spec.seed", 2**32, "should be less than or equal to 4294967295"),
    "no CPU": ("spec.resources.cpu", "0", CPU),
    "negative CPU": ("spec.resources.cpu", "-1", CPU),
    "CPU in words": ("spec.resources.cpu", "two", CPU),
    "less than a thousandth of a CPU": ("spec.resources.cpu", "100u", CPU),
    "CPU as a fraction without quotes": ("spec.resources.cpu", 0.5, "must be of type integer,string"),
    "CPU that is too long": ("spec.resources.cpu", "1" + "0" * 32, "may not be more than 32 bytes"),
    "no memory": ("spec.resources.memory", "0", MEMORY),
    "memory without its unit": ("spec.resources.memory", "10", MEMORY),
    "memory without quotes and unit": ("spec.resources.memory", 512, MEMORY),
    "memory in thousandths of a byte": ("spec.resources.memory", "512m", MEMORY),
    "memory with a unit that is none": ("spec.resources.memory", "1GB", MEMORY),
    "memory that is too long": ("spec.resources.memory", "1" + "0" * 32, "may not be more than 32 bytes"),
    "a negative number of GPUs": ("spec.resources.gpu.count", -1, "should be greater than or equal to 0"),
    "too many GPUs": ("spec.resources.gpu.count", 65, "should be less than or equal to 64"),
    "a GPU without a domain": ("spec.resources.gpu.resourceName", "gpu", GPU),
    "a GPU of too long a name": ("spec.resources.gpu.resourceName", "a/" + "b" * 252, "more than 253 bytes"),
    "output to a place with a slash": ("spec.output.store", "s3://models", PLACE),
    "output to a place of too long a name": _too_long("spec.output.store", 40),
    "a gate without a metric": ("spec.gate.0.metric", GONE, "Required value"),
    "a gate of an empty metric": ("spec.gate.0.metric", "", "should be at least 1 chars long"),
    "a gate of a metric with too long a name": _too_long("spec.gate.0.metric", 63),
    "a gate without a bound": ("spec.gate.0", {"metric": "accuracy"}, "a gate without a bound lets everything pass"),
    "a gate that nothing can pass": (
        "spec.gate.0",
        {"metric": "accuracy", "min": "10", "max": "9"},
        "min must not be greater than max",
    ),
    "a lower bound in percent": ("spec.gate.0.min", "95%", NUMBER),
    "a lower bound with a comma": ("spec.gate.0.min", "0,95", NUMBER),
    "a lower bound without quotes": ("spec.gate.0.min", 0.95, 'must be of type string: "number"'),
    "a lower bound beyond numbers": ("spec.gate.0.min", "1e999", NUMBER),
    "a lower bound that is too long": ("spec.gate.0.min", "0." + "0" * 31, "may not be more than 32 bytes"),
    "an upper bound that is infinite": ("spec.gate.0.max", "inf", NUMBER),
    "an upper bound that is too long": ("spec.gate.0.max", "1." + "0" * 31, "may not be more than 32 bytes"),
    "a comparison with nobody": ("spec.gate.0.notWorseThan.alias", GONE, "Required value"),
    "a comparison with an alias in capitals": ("spec.gate.0.notWorseThan.alias", "Champion", ALIAS),
    "a comparison with too long an alias": _too_long("spec.gate.0.notWorseThan.alias", 40),
    "a comparison by less than nothing": ("spec.gate.0.notWorseThan.by", "-0.01", _NOT_NEGATIVE),
    "a comparison by too long a number": ("spec.gate.0.notWorseThan.by", "0." + "0" * 31, "more than 32 bytes"),
    "a comparison that does not say what is better": (
        "spec.gate.0.notWorseThan.better",
        GONE,
        "write better: Higher (for an accuracy) or better: Lower (for a loss)",
    ),
    "a comparison in which something else is better": ("spec.gate.0.notWorseThan.better", "More", "Unsupported value"),
    "a comparison on data of no name": ("spec.gate.0.notWorseThan.data", ["Test"], "write a name of a-z"),
    "a comparison on data of too long a name": ("spec.gate.0.notWorseThan.data", ["a" * 41], "more than 40 bytes"),
    "a comparison on the same data twice": ("spec.gate.0.notWorseThan.data", ["test", "test"], "Duplicate value"),
    "a comparison on too many data sets": (
        "spec.gate.0.notWorseThan.data",
        [f"d{i}" for i in range(33)],
        "must have at most 32 items",
    ),
    "a comparison on data that are not the run's": (
        "spec.gate.0.notWorseThan.data",
        ["holdout"],
        "name in notWorseThan.data only data sets that stand there",
    ),
    "two gates of one metric": ("spec.gate.1.metric", "accuracy", "spec.gate[1]: Duplicate value"),
    "too many gates": (
        "spec.gate",
        [{"metric": f"m{i}", "min": "0"} for i in range(17)],
        "must have at most 16 items",
    ),
    "a negative number of attempts": ("spec.backoffLimit", -1, "should be greater than or equal to 0"),
    "too many attempts": ("spec.backoffLimit", 21, "should be less than or equal to 20"),
    "a field that does not exist": ("spec.epochs", 20, 'unknown field "spec.epochs"'),
    # docs/design/0022: a field that nothing carries out is refused, not passed over
    "several nodes": ("spec.nodes", 2, 'unknown field "spec.nodes"'),
    "a GPU by device class": ("spec.resources.gpu.deviceClassName", "gpu.nvidia.com", "unknown field"),
    "a field with a typing error": ("spec.entryPoint", "train:main", 'unknown field "spec.entryPoint"'),
    "no spec": ("spec", GONE, "Required value"),
    "a name with a dot": ("metadata.name", "digits.1", "metadata.name must be at most 52 characters of a-z, 0-9"),
    "a name that is too long": ("metadata.name", "r" * 53, "the Job and its pods are named after it"),
}

_COMMAND: Final[dict[str, _One]] = {
    "a program with no words": ("spec.command", [], "write the program first, then its arguments"),
    "a program without a name": ("spec.command", ["", "train.py"], "write the program first, then its arguments"),
    "a program of too many words": ("spec.command", ["x"] * 65, "must have at most 64 items"),
    "a program with too long a word": ("spec.command.0", "x" * 4097, "may not be more than 4096 bytes"),
    "a program that is too long in all": (
        "spec.command",
        ["x" * 4096] * 9,
        "a longer program belongs in code or in the image",
    ),
}

_MODEL_VERSION: dict[str, _One] = {
    "no spec": ("spec", GONE, "Required value"),
    "a name that is not of its model": (
        "metadata.name",
        "cats-v3",
        "metadata.name must be <spec.model>-v<spec.version>",
    ),
    "a name that is not of its version": ("metadata.name", "digits-v4", "for example digits-v3"),
    "a name with a zero before the number": ("metadata.name", "digits-v03", "metadata.name must be <spec.model>-v"),
    "a name without a number": ("metadata.name", "digits", "metadata.name must be <spec.model>-v<spec.version>"),
    "a name with something behind it": ("metadata.name", "digits-v3-b", "metadata.name must be <spec.model>-v"),
    "no model": ("spec.model", GONE, "Required value"),
    "a model's name that is too long": _too_long("spec.model", 40),
    "a model's name with an underscore": ("spec.model", "my_digits", MODEL_NAME),
    "no version": ("spec.version", GONE, "Required value"),
    "version zero": ("spec.version", 0, "should be greater than or equal to 1"),
    "a version beyond counting": ("spec.version", 1_000_000_000, "should be less than or equal to 999999999"),
    "a version as text": ("spec.version", "3", 'must be of type integer: "string"'),
    "no artifact": ("spec.artifact", GONE, "Required value"),
    "an artifact without a place": ("spec.artifact.uri", GONE, "Required value"),
    "an artifact without a digest": ("spec.artifact.digest", GONE, "Required value"),
    "an artifact without a size": ("spec.artifact.size", GONE, "Required value"),
    "an artifact that is a folder": ("spec.artifact.uri", "s3://models/v3/", "write s3://bucket/key of one ONNX file"),
    "an artifact on a disk": ("spec.artifact.uri", "file:///model.onnx", "write s3://bucket/key of one ONNX file"),
    "an artifact with too long a URI": ("spec.artifact.uri", "s3://models/" + "x" * 1020, "more than 1024 bytes"),
    "a digest of another kind": ("spec.artifact.digest", "md5:" + "0" * 32, DIGEST),
    "a digest that is too long": ("spec.artifact.digest", "sha256:" + "0" * 65, "may not be more than 71 bytes"),
    "an empty file": ("spec.artifact.size", 0, "should be greater than or equal to 1"),
    "a file above 2 GiB": ("spec.artifact.size", 2**31 + 1, "should be less than or equal to 2147483648"),
    "a place with a dot": ("spec.artifact.store", "my.store", PLACE),
    "a place of too long a name": _too_long("spec.artifact.store", 40),
    "no signature": ("spec.signature", GONE, "Required value"),
    "a TrainingRun's name in capitals": ("spec.trainingRun", "Digits-1", OBJECT_NAME),
    "a TrainingRun's name that is too long": _too_long("spec.trainingRun", 253),
    "an approval by nobody": ("spec.approval.by", GONE, "write by: the user name of who decided"),
    "an approval by no name": ("spec.approval.by", "", "should be at least 1 chars long"),
    "an approval by too long a name": _too_long("spec.approval.by", 253),
    "an approval in a state of its own": ("spec.approval.state", "Maybe", "Unsupported value"),
    "an approval of too many words": _too_long("spec.approval.comment", 1024),
    "a policy of its own": ("spec.artifactPolicy", "Burn", "Unsupported value"),
    "an alias in capitals": ("spec.aliases.0", "Champion", ALIAS),
    "an alias that is too long": _too_long("spec.aliases.0", 40),
    "an alias twice": ("spec.aliases.1", "champion", 'Duplicate value: "champion"'),
    "too many aliases": ("spec.aliases", [f"a{i}" for i in range(9)], "must have at most 8 items"),
}
for _side in ("inputs", "outputs"):
    _tensor = f"spec.signature.{_side}"
    _MODEL_VERSION |= {
        f"no {_side}": (_tensor, GONE, "Required value"),
        f"{_side} without a tensor": (_tensor, [], "should have at least 1 items"),
        f"too many {_side}": (
            _tensor,
            [{"name": f"t{i}", "datatype": "FP32", "shape": [-1]} for i in range(65)],
            "must have at most 64 items",
        ),
        f"two {_side} of one name": (
            _tensor,
            [{"name": "t", "datatype": d, "shape": [-1]} for d in ("FP32", "INT64")],
            f"{_tensor}[1]: Duplicate value",
        ),
        f"{_side} without a name": (f"{_tensor}.0.name", GONE, "Required value"),
        f"{_side} with an empty name": (f"{_tensor}.0.name", "", "should be at least 1 chars long"),
        f"{_side} with too long a name": _too_long(f"{_tensor}.0.name", 253),
        f"{_side} without a datatype": (f"{_tensor}.0.datatype", GONE, "Required value"),
        f"{_side} with numpy's word for a datatype": (f"{_tensor}.0.datatype", "float32", "Unsupported value"),
        f"{_side} without a shape": (f"{_tensor}.0.shape", GONE, "Required value"),
        f"{_side} with an empty shape": (f"{_tensor}.0.shape", [], SHAPE),
        f"{_side} with a dimension of zero": (f"{_tensor}.0.shape", [-1, 0], SHAPE),
        f"{_side} with another negative dimension": (f"{_tensor}.0.shape", [-1, -2], SHAPE),
        f"{_side} with too many dimensions": (f"{_tensor}.0.shape", [-1] * 17, "must have at most 16 items"),
    }

_IMPORTED: Final[dict[str, _One]] = {
    "a source that says nothing": ("spec.source", {}, "write description, url or both, or leave source out"),
    "a source of no words": ("spec.source.description", "", "should be at least 1 chars long"),
    "a source of too many words": _too_long("spec.source.description", 1024),
    "a page in a bucket": ("spec.source.url", "s3://models/digits", "write http://... or https://..."),
    "a page with a password": ("spec.source.url", "https://a:b@example.com/", "without a user or a password in it"),
    "a page of too long an address": ("spec.source.url", "https://x/" + "x" * 1020, "more than 1024 bytes"),
    "a source and a TrainingRun": ("spec.trainingRun", "digits-1", "or source for one that was trained elsewhere"),
}
_PROMOTED: Final[dict[str, _One]] = {
    "from no namespace": ("spec.promotedFrom.namespace", GONE, "Required value"),
    "from a namespace with a dot": ("spec.promotedFrom.namespace", "a.b", NAME),
    "from a namespace of too long a name": _too_long("spec.promotedFrom.namespace", 63),
    "from no version": ("spec.promotedFrom.modelVersion", GONE, "Required value"),
    "from a model's name": ("spec.promotedFrom.modelVersion", "digits", VERSION_NAME),
    "from a version of too long a name": ("spec.promotedFrom.modelVersion", "m" * 61 + "-v3", "more than 63 bytes"),
}

_DEPLOYMENT: dict[str, _One] = {
    "no spec": ("spec", GONE, "Required value"),
    "a name that begins with a digit": ("metadata.name", "3digits", "begin with a letter: Services are named after it"),
    "a name with a dot": ("metadata.name", "digits.eu", "metadata.name must be at most 40 characters"),
    "a name that is too long": ("metadata.name", "d" * 41, "metadata.name must be at most 40 characters"),
    "a model's name for a version's": ("spec.modelVersion", "digits", VERSION_NAME),
    "a version with a zero before the number": ("spec.modelVersion", "digits-v03", VERSION_NAME),
    "a version with an image's tag": ("spec.modelVersion", "digits:v3", VERSION_NAME),
    "a version's name that is too long": ("spec.modelVersion", "m" * 61 + "-v3", "may not be more than 63 bytes"),
    "too many replicas": ("spec.replicas", 1001, "should be less than or equal to 1000"),
    "no CPU": ("spec.resources.cpu", "0", CPU),
    "CPU that is too long": ("spec.resources.cpu", "1" + "0" * 32, "may not be more than 32 bytes"),
    "memory without its unit": ("spec.resources.memory", "512", MEMORY),
    "memory that is too long": ("spec.resources.memory", "1" + "0" * 32, "may not be more than 32 bytes"),
    "a negative number of GPUs": ("spec.resources.gpu.count", -1, "should be greater than or equal to 0"),
    "too many GPUs": ("spec.resources.gpu.count", 65, "should be less than or equal to 64"),
    "a GPU without a domain": ("spec.resources.gpu.resourceName", "gpu", GPU),
    "a GPU of too long a name": ("spec.resources.gpu.resourceName", "a/" + "b" * 252, "more than 253 bytes"),
    "a batch of nothing": ("spec.server.maxBatch", 0, "should be greater than or equal to 1"),
    "a batch that is too large": ("spec.server.maxBatch", 4097, "should be less than or equal to 4096"),
    "a queue for nobody": ("spec.server.queueLimit", 0, "should be greater than or equal to 1"),
    "a queue that is too long": ("spec.server.queueLimit", 65537, "should be less than or equal to 65536"),
    "a route without a gateway": ("spec.route.gateway", GONE, "Required value"),
    "a route without host names": ("spec.route.hostnames", GONE, "Required value"),
    "a route with an empty list of host names": ("spec.route.hostnames", [], "write at least one host name"),
    "too many host names": (
        "spec.route.hostnames",
        [f"h{i}.example.com" for i in range(17)],
        "must have at most 16 items",
    ),
    "a host name twice": ("spec.route.hostnames.1", "digits.example.com", "Duplicate value"),
    "a URL for a host name": ("spec.route.hostnames.0", "https://digits.example.com", HOSTNAME),
    "a host name with a port": ("spec.route.hostnames.0", "digits.example.com:80", HOSTNAME),
    "a host name in capitals": ("spec.route.hostnames.0", "Digits.example.com", HOSTNAME),
    "a star inside a host name": ("spec.route.hostnames.0", "digits.*.com", HOSTNAME),
    "an address for a host name": ("spec.route.hostnames.0", "192.0.2.1", "a route takes no address"),
    "a host name that is too long": _too_long("spec.route.hostnames.0", 253),
    "a Gateway without a name": ("spec.route.gateway.name", GONE, "Required value"),
    "a Gateway's name in capitals": ("spec.route.gateway.name", "Public", OBJECT_NAME),
    "a Gateway's name that is too long": _too_long("spec.route.gateway.name", 253),
    "a Gateway's namespace with a dot": ("spec.route.gateway.namespace", "a.b", NAME),
    "a Gateway's namespace that is too long": _too_long("spec.route.gateway.namespace", 63),
    "a Gateway's listener in capitals": ("spec.route.gateway.sectionName", "HTTP", OBJECT_NAME),
    "a Gateway's listener of too long a name": _too_long("spec.route.gateway.sectionName", 253),
    "clients that nothing keeps": ("spec.route.stickiness", {}, STICKY),
    "clients that two things keep": ("spec.route.stickiness.cookie", "digits", STICKY),
    "a header with a space to keep clients by": ("spec.route.stickiness.header", "x user", WORD),
    "a header of too long a name to keep clients by": _too_long("spec.route.stickiness.header", 64),
    "a cookie with a sign of its own": ("spec.route.stickiness", {"cookie": "a=b"}, WORD),
    "a cookie of too long a name": (
        "spec.route.stickiness",
        {"cookie": "c" * 65},
        "Too long: may not be more than 64 bytes",
    ),
    "a way back beyond what is remembered": (
        "spec.historyLimit",
        2,
        "rollbackWindow looks into status.history",
    ),
    "a strategy that does not exist": ("spec.strategy.type", "Recreate", 'supported values: "Canary"'),
    "a canary without steps": ("spec.strategy.canary.steps", GONE, "Required value"),
    "a share of the stable version that does not exist": (
        "spec.strategy.stableScale",
        "Half",
        'values: "Keep", "Share"',
    ),
    "a blue/green in place": ("spec.strategy", {"type": "BlueGreen", "surge": False}, "need room for another version"),
    "a shadow in place": ("spec.strategy.surge", False, "write type: Canary without a shadow"),
    "one replica in place": (
        "spec",
        {"modelVersion": "digits-v3", "strategy": {"type": "Canary", "surge": False}},
        "there is no way without a gap: write replicas: 2 or more, or leave surge out",
    ),
    "a blue/green with shared replicas": (
        "spec.strategy",
        {"type": "BlueGreen", "stableScale": "Share"},
        "stableScale: Share belongs to type: Canary with surge",
    ),
    "shared replicas in place": (
        "spec.strategy",
        {"type": "Canary", "surge": False, "stableScale": "Share"},
        "surge: false shares the replicas in any case",
    ),
    "shared replicas without a gateway": (
        "spec",
        {"modelVersion": "digits-v3", "strategy": {"type": "Canary", "stableScale": "Share"}},
        "a plain Service splits traffic by pods: write spec.route",
    ),
    "a negative rollback window": ("spec.strategy.rollbackWindow", -1, "should be greater than or equal to 0"),
    "too wide a rollback window": ("spec.strategy.rollbackWindow", 50, "should be less than or equal to 49"),
    "a rollback window that the history is too short for": (
        "spec.strategy.rollbackWindow",
        5,
        "write a historyLimit that is larger than it",
    ),
    "steps that are empty": (
        "spec.strategy.canary.steps",
        [],
        "write at least one step, for example {setWeight: 10}; leave strategy out to switch at once",
    ),
    "steps that go backwards": (
        "spec.strategy.canary.steps",
        [{"setWeight": 50}, {"pause": {}}, {"setWeight": 10}],
        "setWeight must not go backwards from step to step; to go back, abort the rollout",
    ),
    "too many steps": ("spec.strategy.canary.steps", [{"setWeight": 1}] * 51, "must have at most 50 items"),
    "a step that is empty": ("spec.strategy.canary.steps.0", {}, STEP),
    "a step with two things in it": ("spec.strategy.canary.steps.0", {"setWeight": 10, "pause": {}}, STEP),
    "a weight of zero": ("spec.strategy.canary.steps.0.setWeight", 0, "should be greater than or equal to 1"),
    "a weight above all": (
        "spec.strategy.canary.steps.2.setWeight",
        101,
        "should be less than or equal to 100",
    ),
    "a weight in percent": ("spec.strategy.canary.steps.0.setWeight", "10%", "must be of type integer"),
    "a step that does not exist": (
        "spec.strategy.canary.steps.0.experiment",
        {},
        'unknown field "spec.strategy.canary.steps[0].experiment"',
    ),
    "an analysis before any traffic": (
        "spec.strategy.canary.steps",
        [{"analysis": {}}, {"setWeight": 10}],
        "an analysis needs traffic: write {setWeight: N} or {headerRoute: ...} before it",
    ),
    "two shadows of which one keeps examples": (
        "spec.strategy.canary.steps",
        [{"shadow": {}}, {"setWeight": 10}, {"shadow": {"keepExamples": 5}}],
        SHADOWS,
    ),
    "two shadows that tolerate another absolute difference": (
        "spec.strategy.canary.steps",
        [{"shadow": {"tolerance": {"absolute": "0.1"}}}, {"shadow": {}}],
        SHADOWS,
    ),
    "two shadows that tolerate another relative difference": (
        "spec.strategy.canary.steps",
        [{"shadow": {}}, {"setWeight": 10}, {"shadow": {"tolerance": {"relative": "0"}}}],
        SHADOWS,
    ),
    "a strategy of another type than its name": (
        "spec.strategy.type",
        "BlueGreen",
        "canary belongs to type: Canary: change one of them",
    ),
    "copies and headers without a gateway": (
        "spec.route",
        GONE,
        "shadow and headerRoute need a gateway: write spec.route",
    ),
    "an analysis step without an analysis": (
        "spec.analysis",
        GONE,
        "an analysis needs to know what to measure: write spec.analysis, for example {metrics: [{name: errors}]}",
    ),
    "a header without a name": ("spec.strategy.canary.steps.5.headerRoute.name", GONE, "Required value"),
    "a header without a value": ("spec.strategy.canary.steps.5.headerRoute.value", GONE, "Required value"),
    "a header with a colon": (
        "spec.strategy.canary.steps.5.headerRoute.name",
        "X-Tester:",
        "the name of an HTTP header",
    ),
    "a header of no name": ("spec.strategy.canary.steps.5.headerRoute.name", "", "the name of an HTTP header"),
    "a header with too long a name": _too_long("spec.strategy.canary.steps.5.headerRoute.name", 64),
    "a header of no value": ("spec.strategy.canary.steps.5.headerRoute.value", "", "exact value in visible ASCII"),
    "a header's value that begins with a space": (
        "spec.strategy.canary.steps.5.headerRoute.value",
        " anna",
        "write the header's exact value in visible ASCII",
    ),
    "a header's value of two lines": (
        "spec.strategy.canary.steps.5.headerRoute.value",
        "a\nb",
        "write the header's exact value in visible ASCII",
    ),
    "a header's value that YAML takes for a boolean": (
        "spec.strategy.canary.steps.5.headerRoute.value",
        True,
        'must be of type string: "boolean"',
    ),
    "a header with too long a value": _too_long("spec.strategy.canary.steps.5.headerRoute.value", 256),
    "counters that do not exist": ("spec.analysis.source", "Datadog", 'supported values: "Pods", "Prometheus"'),
    "an analysis of nothing": ("spec.analysis.metrics", GONE, "Required value"),
    "an analysis of an empty list": (
        "spec.analysis.metrics",
        [],
        "write at least one metric, for example {name: errors}",
    ),
    "too many metrics": (
        "spec.analysis.metrics",
        [{"name": f"m{i}", "total": "t", "bad": "b"} for i in range(9)],
        "must have at most 8 items",
    ),
    "a metric twice": ("spec.analysis.metrics.2", {"name": "errors"}, "spec.analysis.metrics[2]: Duplicate value"),
    "PromQL for the pods": ("spec.analysis.source", "Pods", "a metric with total and bad needs source: Prometheus"),
    "another end than the three": ("spec.analysis.onInconclusive", "Retry", "Unsupported value"),
    "a metric without a name": ("spec.analysis.metrics.0.name", GONE, "Required value"),
    "a metric's name in capitals": (
        "spec.analysis.metrics.2.name",
        "Loans",
        "write errors, slow, or a name of your own",
    ),
    "a metric of too long a name": _too_long("spec.analysis.metrics.2.name", 40),
    "a metric that nobody measures": ("spec.analysis.metrics.0.name", "error", METRIC),
    "errors that somebody else measures": (
        "spec.analysis.metrics.0",
        {"name": "errors", "total": "t", "bad": "b"},
        METRIC,
    ),
    "a metric of Slipway's own": (
        "spec.analysis.metrics.2.name",
        "requests",
        "requests and disagreement are counted by Slipway itself: give your metric another name",
    ),
    "slow without a threshold": ("spec.analysis.metrics.1.threshold", GONE, THRESHOLD),
    "errors with a threshold": ("spec.analysis.metrics.0.threshold", "50ms", THRESHOLD),
    "a threshold beyond the histogram": (
        "spec.analysis.metrics.1.threshold",
        "1m1ms",
        "write at most 60s: the servers' latency histogram ends there",
    ),
    "all of them and no bad ones": ("spec.analysis.metrics.2.bad", GONE, "total and bad belong together"),
    "PromQL that is empty": ("spec.analysis.metrics.2.total", "", "should be at least 1 chars long"),
    "PromQL that is too long": _too_long("spec.analysis.metrics.2.total", 2048),
    "PromQL of bad ones that is empty": ("spec.analysis.metrics.2.bad", "", "should be at least 1 chars long"),
    "PromQL of bad ones that is too long": _too_long("spec.analysis.metrics.2.bad", 2048),
    "no increase at all": ("spec.analysis.metrics.0.maxIncrease", "0", SHARE),
    "an increase in percent": ("spec.analysis.metrics.0.maxIncrease", "1%", SHARE),
    "an increase above all": ("spec.analysis.metrics.0.maxIncrease", "1.01", SHARE),
    "an increase without quotes": ("spec.analysis.metrics.0.maxIncrease", 0.01, 'must be of type string: "number"'),
    "an increase that is too long": (
        "spec.analysis.metrics.0.maxIncrease",
        "0." + "0" * 30 + "1",
        "more than 32 bytes",
    ),
    "no samples": ("spec.analysis.metrics.0.minSamples", 0, "should be greater than or equal to 1"),
    "too many samples": ("spec.analysis.metrics.0.minSamples", 10_000_001, "should be less than or equal to 10000000"),
    "a negative history": ("spec.historyLimit", -1, "should be greater than or equal to 0"),
    "too long a history": ("spec.historyLimit", 51, "should be less than or equal to 50"),
}

_ALIAS: Final[dict[str, _One]] = {
    "an alias in capitals": ("spec.alias", "Champion", ALIAS),
    "an alias that is too long": _too_long("spec.alias", 40),
    "a followed model's name in capitals": ("spec.model", "Digits", MODEL_NAME),
    "a followed model's name that is too long": _too_long("spec.model", 40),
}

_BLUE_GREEN: dict[str, _One] = {
    "a strategy of another type than its name": (
        "spec.strategy.type",
        "Canary",
        "blueGreen belongs to type: BlueGreen: change one of them",
    ),
    "a preview without a gateway": (
        "spec.route",
        GONE,
        "previewHostname needs a gateway: write spec.route, or leave it out",
    ),
    "an analysis of a preview that is not there": (
        "spec.strategy.blueGreen.previewHostname",
        GONE,
        "prePromotion.analysis looks at preview traffic: write blueGreen.previewHostname, or use a Job",
    ),
    "an analysis before the switch that is not said": (
        "spec.analysis",
        GONE,
        "an analysis needs to know what to measure: write spec.analysis, for example {metrics: [{name: errors}]}",
    ),
    "a look back at nothing": ("spec.strategy.blueGreen.postPromotion.analysis", GONE, "Required value"),
    "a preview of any host": ("spec.strategy.blueGreen.previewHostname", "*.digits.example.com", PREVIEW),
    "a preview by URL": ("spec.strategy.blueGreen.previewHostname", "http://preview.example.com", PREVIEW),
    "a preview by address": ("spec.strategy.blueGreen.previewHostname", "192.0.2.1", "a route takes no address"),
    "a preview of too long a name": _too_long("spec.strategy.blueGreen.previewHostname", 253),
}
_JOB: Final = "spec.strategy.blueGreen.prePromotion.job"
_BLUE_GREEN |= {
    "a test without an image": (f"{_JOB}.image", GONE, "Required value"),
    "a test of an empty image": (f"{_JOB}.image", "", "should be at least 1 chars long"),
    "a test of too long an image": _too_long(f"{_JOB}.image", 512),
    "a test of too many words": (f"{_JOB}.command", ["x"] * 65, "must have at most 64 items"),
    "a test with too long a word": (f"{_JOB}.command.0", "x" * 4097, "may not be more than 4096 bytes"),
    "a test's files in capitals": (f"{_JOB}.configMap", "Checks", OBJECT_NAME),
    "a test's files of too long a name": _too_long(f"{_JOB}.configMap", 253),
    "too many variables": (f"{_JOB}.env", [{"name": f"V{i}"} for i in range(65)], "must have at most 64 items"),
    "a variable twice": (f"{_JOB}.env.1.name", "ROWS", "Duplicate value"),
    "a variable without a name": (f"{_JOB}.env.0.name", GONE, "Required value"),
    "a variable that begins with a digit": (f"{_JOB}.env.0.name", "1ROW", "that does not begin with a digit"),
    "a variable of Slipway's": (
        f"{_JOB}.env.0.name",
        "SLIPWAY_URL",
        "names that begin with SLIPWAY_ are Slipway's: write another one",
    ),
    "a variable of too long a name": _too_long(f"{_JOB}.env.0.name", 128),
    "a variable that is too long": _too_long(f"{_JOB}.env.0.value", 4096),
    "a variable from a Secret": (f"{_JOB}.env.0.valueFrom", {}, "unknown field"),
    "a test without CPU": (f"{_JOB}.resources.cpu", "0", CPU),
    "a test's CPU that is too long": (f"{_JOB}.resources.cpu", "1" + "0" * 32, "may not be more than 32 bytes"),
    "a test's memory without its unit": (f"{_JOB}.resources.memory", "256", MEMORY),
    "a test's memory that is too long": (f"{_JOB}.resources.memory", "1" + "0" * 32, "may not be more than 32 bytes"),
}


def _terms(path: str) -> dict[str, _One]:
    """What a shadow may not ask for, as a strategy and as a step."""
    return {
        f"{path}: copies of no requests": (f"{path}.percent", 0, "should be greater than or equal to 1"),
        f"{path}: more copies than requests": (f"{path}.percent", 101, "should be less than or equal to 100"),
        f"{path}: no samples": (f"{path}.minSamples", 0, "should be greater than or equal to 1"),
        f"{path}: too many samples": (f"{path}.minSamples", 10_000_001, "should be less than or equal to 10000000"),
        f"{path}: no disagreement": (f"{path}.maxDisagreement", "0.0", SHARE),
        f"{path}: disagreement in percent": (f"{path}.maxDisagreement", "1%", SHARE),
        f"{path}: disagreement that is too long": (
            f"{path}.maxDisagreement",
            "0." + "0" * 30 + "1",
            "may not be more than 32 bytes",
        ),
        f"{path}: a negative tolerance": (f"{path}.tolerance.absolute", "-1e-4", NOT_NEGATIVE),
        f"{path}: a tolerance that is too long": (f"{path}.tolerance.absolute", "0" * 33, "more than 32 bytes"),
        f"{path}: a relative tolerance in percent": (f"{path}.tolerance.relative", "1%", NOT_NEGATIVE),
        f"{path}: a relative tolerance that is too long": (
            f"{path}.tolerance.relative",
            "0" * 33,
            "may not be more than 32 bytes",
        ),
        f"{path}: no time": (f"{path}.maxDuration", "0s", LONGER),
        f"{path}: another end than the three": (
            f"{path}.onInconclusive",
            "Hold",
            'supported values: "Pause", "Promote", "Abort"',
        ),
        f"{path}: fewer examples than none": (f"{path}.keepExamples", -1, "should be greater than or equal to 0"),
        f"{path}: too many examples": (f"{path}.keepExamples", 101, "should be less than or equal to 100"),
    }


_DEPLOYMENT |= _terms("spec.strategy.canary.steps.4.shadow")
_SHADOW: dict[str, _One] = {
    **_terms("spec.strategy.shadow"),
    "a strategy of another type than its name": (
        "spec.strategy.type",
        "Canary",
        "shadow belongs to type: Shadow; to shadow before a canary, write {shadow: {...}} as one of its steps",
    ),
    "a shadow without a gateway": ("spec.route", GONE, "shadow and headerRoute need a gateway: write spec.route"),
    "another end than the two": ("spec.strategy.shadow.onPass", "Abort", 'supported values: "Promote", "Hold"'),
}


def _durations(what: str, path: str, *, zero: bool, milliseconds: bool) -> dict[str, _One]:
    made: dict[str, _One] = {
        f"{what} without a unit": (path, "30", DURATION),
        f"{what} that is empty": (path, "", DURATION),
        f"{what} in words": (path, "5 minutes", DURATION),
        f"{what} that is negative": (path, "-5m", DURATION),
        f"{what} with a fraction": (path, "1.5h", DURATION),
        f"{what} with the small unit first": (path, "30s10m", DURATION),
        f"{what} beyond the calendar": (path, "99999d", DURATION),
        f"{what} as a number": (path, 30, 'must be of type string: "integer"'),
        f"{what} that is too long": (path, "1s" * 17, "may not be more than 32 bytes"),
    }
    if not zero:
        made[f"{what} of zero"] = (path, "0m" if milliseconds else "0s", LONGER)
    if not milliseconds:
        made[f"{what} of less than a second"] = (path, "500ms", SECONDS)
    return made


_REPRODUCTION: Final[dict[str, _One]] = {
    "nothing to reproduce": ("spec.reproduceOf.modelVersion", GONE, "Required value"),
    "a version without a number": ("spec.reproduceOf.modelVersion", "digits", "write the name of a ModelVersion"),
    "a version of too long a name": ("spec.reproduceOf.modelVersion", "digits-v" + "1" * 60, "may not be more than 63"),
    "a version of another model": (
        "spec.reproduceOf.modelVersion",
        "cats-v1",
        "reproduceOf.modelVersion must be a version of spec.model",
    ),
    "a negative tolerance": ("spec.reproduceOf.tolerance.absolute", "-1", _NOT_NEGATIVE),
    "a tolerance in words": ("spec.reproduceOf.tolerance.relative", "much", _NOT_NEGATIVE),
    "too long a tolerance": ("spec.reproduceOf.tolerance.absolute", "1" * 33, "may not be more than 32"),
    "too long a relative tolerance": ("spec.reproduceOf.tolerance.relative", "1" * 33, "may not be more than 32"),
    "a gate on a reproduction": ("spec.gate", [{"metric": "accuracy", "min": "0.9"}], "leave gate out"),
    "an approval of a reproduction": ("spec.approval", {"required": True}, "leave approval out"),
}
_TRAINING_RUN |= _durations("a deadline", "spec.activeDeadline", zero=False, milliseconds=False)
_TRAINING_RUN |= _durations("a time to live", "spec.ttlAfterFinished", zero=True, milliseconds=False)
_DEPLOYMENT |= _durations("a progress deadline", "spec.progressDeadline", zero=False, milliseconds=False)
_DEPLOYMENT |= _durations("a delay", "spec.strategy.canary.scaleDownDelay", zero=True, milliseconds=False)
_DEPLOYMENT |= _durations("a pause", "spec.strategy.canary.steps.1.pause.duration", zero=True, milliseconds=True)
_DEPLOYMENT |= _durations("a batching delay", "spec.server.maxDelay", zero=True, milliseconds=True)
_DEPLOYMENT |= {
    "a batching delay of more than a second": ("spec.server.maxDelay", "1001ms", "write at most 1s, for example 5ms"),
    "a batching delay of a day": ("spec.server.maxDelay", "1d", "write at most 1s, for example 5ms"),
}
_DEPLOYMENT |= _durations("a verdict's time", "spec.analysis.maxDuration", zero=False, milliseconds=False)
_DEPLOYMENT |= _durations("a threshold", "spec.analysis.metrics.1.threshold", zero=False, milliseconds=True)
_DEPLOYMENT |= _durations("an analysis", "spec.strategy.canary.steps.6.analysis.duration", zero=True, milliseconds=True)
_BLUE_GREEN |= _durations("a test's deadline", f"{_JOB}.deadline", zero=False, milliseconds=False)
_BLUE_GREEN |= _durations("a delay", "spec.strategy.blueGreen.scaleDownDelay", zero=True, milliseconds=False)
for _side in ("prePromotion", "postPromotion"):
    _BLUE_GREEN |= _durations(
        f"{_side}", f"spec.strategy.blueGreen.{_side}.analysis.duration", zero=True, milliseconds=True
    )
_SHADOW |= _durations("a delay", "spec.strategy.shadow.scaleDownDelay", zero=True, milliseconds=False)
_SHADOW |= _durations("a comparison's time", "spec.strategy.shadow.maxDuration", zero=False, milliseconds=False)
_DEPLOYMENT |= _durations(
    "the time of a comparison before a canary",
    "spec.strategy.canary.steps.4.shadow.maxDuration",
    zero=False,
    milliseconds=False,
)
_DEPLOYMENT |= _durations("a request's timeout", "spec.server.timeout", zero=False, milliseconds=True)


def _refused() -> Iterator[tuple[str, Refused]]:
    program = {"spec.entrypoint": GONE, "spec.command": ["python", "train.py"]}
    follower = {"spec.modelVersion": GONE, "spec.alias": "champion", "spec.model": "digits"}
    for kind, base, first, table in (
        ("Dataset", dataset(), {}, _DATASET),
        ("TrainingRun", training_run(), {}, _TRAINING_RUN),
        ("TrainingRun", training_run(), program, _COMMAND),
        ("reproduction", reproduction(), {}, _REPRODUCTION),
        ("ModelVersion", model_version(), {}, _MODEL_VERSION),
        ("imported ModelVersion", model_version(), IMPORTED, _IMPORTED),
        ("promoted ModelVersion", promoted(), {}, _PROMOTED),
        ("Deployment", deployment(), {}, _DEPLOYMENT),
        ("Deployment", deployment(), follower, _ALIAS),
        ("blue/green Deployment", blue_green(), {}, _BLUE_GREEN),
        ("shadowing Deployment", shadowing(), {}, _SHADOW),
    ):
        for sentence, (path, value, words) in table.items():
            yield f"{kind}: {sentence}", Refused(base, {**first, path: value}, path, words)
    longer = "maxDelay must be shorter than timeout"
    for delay, timeout in (("100ms", "100ms"), ("1s", "500ms"), ("5ms", "0d5ms")):
        both: dict[str, Any] = {"spec.server.maxDelay": delay, "spec.server.timeout": timeout}
        sentence = f"Deployment: a delay of {delay} in a timeout of {timeout}"
        yield sentence, Refused(deployment(), both, "spec.server.maxDelay", longer)
    files = "format Files has no columns and no rows"
    yield "Dataset: columns of files of any kind", Refused(dataset(), {"spec.format": "Files"}, "spec", files)
    for rule in ({"column": "label", "min": "0"}, {"minRows": 1}):
        edits = {"spec.format": "Files", "spec.schema": GONE, "spec.checks": [rule]}
        yield f"Dataset: {rule} of files of any kind", Refused(dataset(), edits, "spec", files)
    edits = {"spec.format": "Images", "spec.schema": GONE, "spec.checks": [{"column": "colour", "unique": True}]}
    yield (
        "Dataset: a column that no image has",
        Refused(dataset(), edits, "spec", "format Images has the columns label,"),
    )
    either = "write either entrypoint (module:function) or command (any program), not both and not neither"
    yield (
        "TrainingRun: an entrypoint and a program",
        Refused(training_run(), {"spec.command": ["python", "train.py"]}, "spec", either),
    )
    yield (
        "TrainingRun: neither entrypoint nor program",
        Refused(training_run(), {"spec.entrypoint": GONE}, "spec", either),
    )
    yield (
        "TrainingRun: a comparison without data",
        Refused(training_run(), {"spec.data": GONE}, "spec.gate", "list in spec.data what the metric is measured on"),
    )
    which = "write either modelVersion (one version) or model and alias (whichever version holds the alias)"
    together = "alias and model belong together: an alias is held per model"
    yield "Deployment: nothing to serve", Refused(deployment(), {"spec.modelVersion": GONE}, "spec", which)
    yield (
        "Deployment: a version and an alias",
        Refused(deployment(), {"spec.alias": "champion", "spec.model": "digits"}, "spec", which),
    )
    yield (
        "Deployment: an alias of no model",
        Refused(deployment(), {"spec.modelVersion": GONE, "spec.alias": "champion"}, "spec", together),
    )
    # The API server itself refuses it too, because of the scale subresource, and names another field.
    yield (
        "Deployment: fewer than no replicas",
        Refused(deployment(), {"spec.replicas": -1}, "", "spec.replicas in body should be greater than or equal to 0"),
    )
    yield "Deployment: a version and a model", Refused(deployment(), {"spec.model": "digits"}, "spec", together)


REFUSED: Final = dict(_refused())

# ------------------------------------------------------------------------------------------- what may not change

_RECORD: Final = "cannot be changed: a TrainingRun is the record of one training; apply a new one under another name"
_REGISTERED: Final = "cannot be changed: a ModelVersion is what was registered; register another version"


def _changes() -> Iterator[tuple[str, Refused]]:
    for name, value in {
        "model": "cats",
        "image": "registry.example/trainer:2",
        "entrypoint": "train:other",
        "code": {"configMap": "other-code"},
        "from": {"modelVersion": "digits-v1"},
        "data": [],
        "parameters": {"epochs": "21"},
        "seed": 8,
        "resources": {"cpu": "2"},
        "output": {"store": "other"},
        "gate": [],
        "approval": {"required": False},
        "backoffLimit": 3,
        "activeDeadline": "3h",
        "ttlAfterFinished": "8d",
    }.items():
        yield f"TrainingRun: another {name}", Refused(training_run(), {f"spec.{name}": value}, "", f"{name} {_RECORD}")
    for name in ("image", "code", "from", "data", "parameters", "gate", "activeDeadline", "ttlAfterFinished"):
        yield (
            f"TrainingRun: {name} taken away",
            Refused(training_run(), {f"spec.{name}": GONE}, "", f"{name} {_RECORD}"),
        )
    yield (
        "TrainingRun: another version to reproduce",
        Refused(reproduction(), {"spec.reproduceOf.modelVersion": "digits-v4"}, "", f"reproduceOf {_RECORD}"),
    )
    yield (
        "TrainingRun: another program",
        Refused(
            training_run(), {"spec.command": ["python", "x.py"], "spec.entrypoint": GONE}, "", f"command {_RECORD}"
        ),
    )
    for name, value in {
        "artifact": {**model_version()["spec"]["artifact"], "digest": "sha256:" + "b" * 64},
        "signature": {
            **model_version()["spec"]["signature"],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
        },
        "trainingRun": GONE,
        "source": {"description": "elsewhere"},
        "promotedFrom": {"namespace": "dev", "modelVersion": "digits-v3"},
        "version": 4,
        "model": "cats",
    }.items():
        edit = {f"spec.{name}": value}
        yield f"ModelVersion: another {name}", Refused(model_version(), edit, "", f"{name} {_REGISTERED}")


CHANGES: Final = {
    **dict(_changes()),
    "ModelVersion: taken back without its file": Refused(
        discarded(), {"spec.archived": False}, "", "archived cannot be taken back: the file was deleted"
    ),
    "ModelVersion: archived while it serves": Refused(
        model_version(), {"spec.archived": True}, "", "archived cannot be set while Deployments run this version"
    ),
}

MAY_CHANGE: Final[dict[str, Given]] = {
    "Dataset: it moves": Given(dataset(), {"spec.uri": "s3://data/digits-2026/", "spec.refresh": GONE}),
    "TrainingRun: suspended": Given(training_run(), {"spec.suspend": True}),
    "TrainingRun: labelled": Given(training_run(), {"metadata.labels": {"team": "vision"}}),
    "ModelVersion: another alias": Given(model_version(), {"spec.aliases": ["challenger"]}),
    "ModelVersion: no alias": Given(model_version(), {"spec.aliases": GONE}),
    "ModelVersion: the other policy for its file": Given(model_version(), {"spec.artifactPolicy": "Delete"}),
    "ModelVersion: approval taken back": Given(model_version(), {"spec.approval": {"required": True}}),
    "Deployment: another version": Given(deployment(), {"spec.modelVersion": "digits-v4"}),
    "Deployment: from a version to an alias": Given(
        deployment(), {"spec.modelVersion": GONE, "spec.model": "digits", "spec.alias": "champion"}
    ),
    "Deployment: without a route": Given(deployment(), {"spec.route": GONE, "spec.strategy": {"type": "Canary"}}),
    "Deployment: another strategy": Given(blue_green()),
    "Deployment: more replicas": Given(deployment(), {"spec.replicas": 5}),
}

# ----------------------------------------------------------------------------------------------------------- tests

RESOURCE: Final[dict[str, Resource]] = {
    "Dataset": DATASETS,
    "TrainingRun": TRAINING_RUNS,
    "ModelVersion": MODEL_VERSIONS,
    "Deployment": DEPLOYMENTS,
}


@pytest.fixture(scope="module", autouse=True)
def place(api: Api) -> None:
    """Two namespaces; everything but the objects that stand in the first is a dry run."""
    for name in (NAMESPACE, EMPTY_NAMESPACE):
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


@pytest.fixture(scope="module")
def standing(api: Api, place: None) -> dict[str, Object]:
    """One object of each kind that exists, to be changed; the ModelVersion is served."""
    made = {m["kind"]: api.apply(m) for m in (dataset(), training_run(), model_version(), deployment())}
    served = {"status": {"deployments": [{"name": "digits", "role": "stable"}]}}
    made["ModelVersion"] = api.merge(MODEL_VERSIONS, NAMESPACE, "digits-v3", served, subresource="status")
    api.apply(discarded())
    gone = {"status": {"artifactDeletion": {"since": "2026-01-01T00:00:00Z"}}}
    made["digits-v19"] = api.merge(MODEL_VERSIONS, NAMESPACE, "digits-v19", gone, subresource="status")
    return made


def _live(standing: dict[str, Object], case: Given) -> Object:
    """The object that a case changes: of its name, or else of its kind."""
    return standing.get(case.base["metadata"]["name"], standing[case.base["kind"]])


@pytest.fixture(scope="module")
def schemas(api: Api) -> dict[str, Object]:
    """The schema of each kind as the API server holds it, without status, which only the operator writes."""
    found = {}
    for kind in KINDS:
        crd = api.get(CRDS, None, kind.crd_name)
        assert crd is not None
        made = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        made["properties"].pop("status")
        found[kind.kind] = made
    return found


def refusal(api: Api, manifest: Object) -> Refusal:
    """What the API server says to a manifest that it must not take."""
    with pytest.raises(Refusal) as caught:
        api.create(manifest, dry_run=True)
    return caught.value


def change(api: Api, live: Object, wanted: Object) -> Object:
    """Replace ``live`` by ``wanted``, as a dry run."""
    body = copy.deepcopy(wanted)
    body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
    path = RESOURCE[live["kind"]].path(NAMESPACE, live["metadata"]["name"])
    return api.call("PUT", path, body, dryRun="All", fieldValidation="Strict")


@pytest.mark.parametrize("sentence", ACCEPTED)
def test_is_accepted(api: Api, sentence: str) -> None:
    wanted = ACCEPTED[sentence].manifest()
    wanted["metadata"]["namespace"] = EMPTY_NAMESPACE
    made = api.create(wanted, dry_run=True)
    assert _subset(wanted["spec"], made["spec"]), "what was written came back changed"


def _subset(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and _subset(v, whole[k]) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(_subset, part, whole))
    return bool(part == whole)


@pytest.mark.parametrize("sentence", REFUSED)
def test_is_refused(api: Api, sentence: str) -> None:
    case = REFUSED[sentence]
    refused = refusal(api, case.manifest())
    assert case.words in refused.message
    about = {c.field for c in refused.causes}
    # A field that is unknown is refused before validation, and has no cause.
    assert not about or all(_concerns(f, _field(case.at)) for f in about), f"also refused: {refused.message}"


def _concerns(found: str, expected: str) -> bool:
    return found.startswith(expected) or found in ("<nil>", "") or expected.startswith(found)


@pytest.mark.parametrize("sentence", CHANGES)
def test_may_not_change(api: Api, standing: dict[str, Object], sentence: str) -> None:
    case = CHANGES[sentence]
    with pytest.raises(Refusal) as caught:
        change(api, _live(standing, case), case.manifest())
    assert case.words in caught.value.message


@pytest.mark.parametrize("sentence", MAY_CHANGE)
def test_may_change(api: Api, standing: dict[str, Object], sentence: str) -> None:
    case = MAY_CHANGE[sentence]
    made = change(api, standing[case.base["kind"]], case.manifest())
    assert made["kind"] == case.base["kind"]


def test_no_rule_is_untested(api: Api, standing: dict[str, Object], schemas: dict[str, Object]) -> None:
    """Which rule a refusal was about is read off the API server's answer, not off the tables."""
    broken: dict[str, set[schema.SchemaRule]] = {kind: set() for kind in schemas}
    for case in REFUSED.values():
        kind = case.base["kind"]
        broken[kind] |= _rules(refusal(api, case.manifest()).causes, schemas[kind])
    for case in CHANGES.values():
        kind = case.base["kind"]
        with pytest.raises(Refusal) as caught:
            change(api, _live(standing, case), case.manifest())
        broken[kind] |= _rules(caught.value.causes, schemas[kind])
    untested = [f"{kind} {rule}" for kind, s in schemas.items() for rule in sorted(set(schema.rules(s)) - broken[kind])]
    assert not untested, "no case in this file is refused by:\n" + "\n".join(untested)


def _rules(causes: tuple[Cause, ...], of: Object) -> set[schema.SchemaRule]:
    found = {schema.broken(cause, of) for cause in causes}
    return {rule for rule in found if rule is not None}


def test_every_field_has_an_accepted_value(schemas: dict[str, Object]) -> None:
    for kind, found in schemas.items():
        ruled = {r.path for r in schema.rules(found) if not r.path.startswith("metadata")}
        filled = {
            p for case in ACCEPTED.values() if case.base["kind"] == kind for p in schema.paths(case.manifest(), found)
        }
        assert not ruled - filled


def test_no_rule_speaks_in_regular_expressions(schemas: dict[str, Object]) -> None:
    for kind, found in schemas.items():
        assert not [str(r) for r in schema.rules(found) if r.what == "pattern"], kind


# ------------------------------------------------------------------------------------------------ what is written


def test_defaults_of_a_dataset(api: Api) -> None:
    edits = {"metadata.name": "d", "spec": {"uri": "s3://data/x", "format": "Csv", "checks": [{"minRows": 1}]}}
    assert api.create(Given(dataset(), edits).manifest(), dry_run=True)["spec"] == {
        "uri": "s3://data/x",
        "store": "default",
        "format": "Csv",
        "quoteValues": True,
        "checks": [{"notNull": False, "unique": False, "minRows": 1}],
        "resources": {"cpu": "1", "memory": "1Gi"},
        "activeDeadline": "1h",
    }


def test_defaults_of_a_training_run(api: Api) -> None:
    wanted = Given(training_run(), {"metadata.name": "d", "spec": {"model": "digits", "entrypoint": "train:main"}})
    assert api.create(wanted.manifest(), dry_run=True)["spec"] == {
        "model": "digits",
        "entrypoint": "train:main",
        "seed": 0,
        "resources": {"cpu": "1", "memory": "1Gi", "gpu": {"count": 0, "resourceName": "nvidia.com/gpu"}},
        "output": {"store": "default"},
        "suspend": False,
        "backoffLimit": 2,
    }


def test_defaults_of_a_model_version(api: Api) -> None:
    edits = {"metadata.name": "digits-v9", "spec.version": 9, "spec.artifact.store": GONE}
    edits |= {f"spec.{name}": GONE for name in ("trainingRun", "approval", "aliases", "archived", "artifactPolicy")}
    made = api.create(Given(model_version(), edits).manifest(), dry_run=True)["spec"]
    assert made["artifact"]["store"] == "default"
    assert made["archived"] is False
    assert sorted(made) == ["archived", "artifact", "artifactPolicy", "model", "signature", "version"]


STRATEGY: Final = {"rollbackWindow": 0, "surge": True, "stableScale": "Keep"}
"""What every strategy has."""


def test_defaults_of_a_deployment(api: Api) -> None:
    wanted = Given(deployment(), {"metadata.name": "d", "spec": {"modelVersion": "digits-v3"}})
    assert api.create(wanted.manifest(), dry_run=True)["spec"] == {
        "modelVersion": "digits-v3",
        "replicas": 1,
        "resources": {"cpu": "500m", "memory": "512Mi", "gpu": {"count": 0, "resourceName": "nvidia.com/gpu"}},
        "server": {"maxBatch": 32, "maxDelay": "0ms", "queueLimit": 128, "timeout": "30s"},
        "strategy": {"type": "Canary", **STRATEGY},
        "progressDeadline": "10m",
        "historyLimit": 5,
    }


def test_defaults_of_an_analysis(api: Api) -> None:
    wanted = Given(deployment(), {"metadata.name": "d", "spec.analysis": {"metrics": [{"name": "errors"}]}})
    assert api.create(wanted.manifest(), dry_run=True)["spec"]["analysis"] == {
        "source": "Pods",
        "metrics": [{"name": "errors", "maxIncrease": "0.01", "minSamples": 50}],
        "background": True,
        "maxDuration": "30m",
        "onInconclusive": "Pause",
    }


TERMS: Final = {
    "percent": 100,
    "minSamples": 500,
    "maxDisagreement": "0.01",
    "tolerance": {"absolute": "1e-4", "relative": "1e-3"},
    "keepExamples": 0,
}
JOB: Final = {"image": "registry.example/checks:1"}


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (
            {"type": "Canary", "canary": {"steps": [{"shadow": {}}]}},
            {"canary": {"steps": [{"shadow": TERMS}], "scaleDownDelay": "30s"}},
        ),
        (
            {"type": "Shadow", "shadow": {}},
            {"shadow": {**TERMS, "onPass": "Promote", "scaleDownDelay": "30s"}},
        ),
        ({"type": "BlueGreen", "blueGreen": {}}, {"blueGreen": {"autoPromote": True, "scaleDownDelay": "30s"}}),
        (
            {"type": "BlueGreen", "blueGreen": {"prePromotion": {"job": JOB}}},
            {
                "blueGreen": {
                    "autoPromote": True,
                    "scaleDownDelay": "30s",
                    "prePromotion": {
                        "job": {**JOB, "resources": {"cpu": "100m", "memory": "256Mi"}, "deadline": "10m"}
                    },
                }
            },
        ),
    ],
    ids=["a shadow step", "a shadow", "blue/green", "blue/green with a test"],
)
def test_defaults_of_a_strategy(api: Api, given: Object, written: Object) -> None:
    wanted = Given(deployment(), {"metadata.name": "d", "spec.strategy": given})
    assert api.create(wanted.manifest(), dry_run=True)["spec"]["strategy"] == {
        "type": given["type"],
        **STRATEGY,
        **written,
    }


# --------------------------------------------------------------------------------------------------- what is shown


def _shown(page: str) -> list[Object]:
    """The parts of a spec that a page shows."""
    page = (REPOSITORY / "docs" / page).read_text()
    return [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("part", _shown("rollouts.md"), ids=lambda part: "+".join(part))
def test_what_the_documents_show_is_accepted(api: Api, part: Object) -> None:
    wanted = Given(deployment(), {"metadata.name": "shown", "spec": {"modelVersion": "digits-v3", **part}})
    made = api.create(wanted.manifest(), dry_run=True)
    assert _subset(part, made["spec"])


@pytest.mark.parametrize("part", _shown("datasets.md"), ids=lambda part: "+".join(part))
def test_what_the_page_about_data_shows_is_accepted(api: Api, part: Object) -> None:
    wanted = Given(dataset(), {"metadata.name": "shown", "spec": {"uri": "s3://data/x", "format": "Csv", **part}})
    made = api.create(wanted.manifest(), dry_run=True)
    assert _subset(part, made["spec"])
