"""MLflow's side of the questions: a program for MLflow's own environment, which knows nothing of ours.

``asks.py fill URI MODELS THREADS`` writes the content into a tracking database; ``asks.py ask URI REPEAT WORD...`` asks
a server one question as a person's script would, and again REPEAT times, and prints the answer and the seconds of each
time. Only MLflow's public client is used, each question with the fewest requests that it allows.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

from content import VERSIONS, Made, versions  # type: ignore[import-not-found]  # this file's directory is on the path
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

PAGE = 1000
_ONE_AT_A_TIME = threading.Lock()
EXPERIMENT = "1"
"""The first that a new tracking database makes; a script knows it as a constant."""


def fill(uri: str, models: int, threads: int) -> None:
    """Each version with its run: parameters, metrics, the data set as its input. Data, commit and image are tags of
    the version too, because a registry search knows nothing of runs."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    assert client.create_experiment("training", artifact_location="/nowhere") == EXPERIMENT
    begun, by_model = time.monotonic(), [list(made) for _, made in groupby(versions(models), key=lambda m: m.model)]

    def model(all_of_it: list[Made]) -> None:
        client.create_registered_model(all_of_it[0].model)
        for made in all_of_it:
            _write(client, made)

    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(model, by_model), start=1):
            if done % 50 == 0:
                print(f"  {done * VERSIONS} versions after {time.monotonic() - begun:.0f} s", file=sys.stderr)


def _write(client: MlflowClient, made: Made) -> None:
    run = client.create_run(EXPERIMENT, run_name=made.name).info.run_id
    tags = {"data": made.data, "commit": made.commit, "image": made.image, "seed": "7"}
    client.log_batch(
        run,
        metrics=[Metric(name, float(value), 0, 0) for name, value in made.metrics],
        params=[Param(name, value) for name, value in made.parameters],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    # 36 characters of a digest is all that its column holds.
    dataset = Dataset(name="train", digest=made.data[7:43], source_type="s3", source="s3://data/train/")
    # Two runs that name a data set for the first time at once would both add it, and one of them would fail.
    with _ONE_AT_A_TIME:
        client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])
    client.set_terminated(run)
    of_it = client.create_model_version(made.model, f"s3://models/{made.name}", run, tags=tags)
    if made.alias:
        client.set_registered_model_alias(made.model, made.alias, of_it.version)


def models(client: MlflowClient) -> list[str]:
    """Every model with its newest version and its aliases."""
    found = _pages(lambda token: client.search_registered_models(max_results=PAGE, page_token=token))
    return [
        f"{m.name} v{max(int(v.version) for v in m.latest_versions)} "
        + " ".join(f"{alias}=v{held}" for alias, held in sorted(m.aliases.items()))
        for m in found
    ]


def of_model(client: MlflowClient, model: str) -> list[str]:
    """The versions of a model, each with its metrics: those are of its run."""
    found = _pages(lambda token: client.search_model_versions(f"name = '{model}'", max_results=PAGE, page_token=token))
    named = ", ".join(f"'{version.run_id}'" for version in found)
    runs = client.search_runs([EXPERIMENT], f"attributes.run_id IN ({named})")
    metrics = {run.info.run_id: run.data.metrics for run in runs}
    return [" ".join([f"v{v.version}", *sorted(_equal(metrics[v.run_id]))]) for v in found]


def lineage(client: MlflowClient, model: str, number: str) -> list[str]:
    """What one version was made of."""
    run = client.get_run(client.get_model_version(model, number).run_id)
    made_of = [f"{key} {run.data.tags[key]}" for key in ("data", "commit", "image", "seed")]
    assert run.inputs.dataset_inputs[0].dataset.digest in run.data.tags["data"]
    return [*made_of, *_equal(run.data.params), *_equal(run.data.metrics)]


def by_tag(client: MlflowClient, key: str, value: str) -> list[str]:
    """The versions that were made of a data set, from a commit, in an image."""
    filter_ = f"tags.`{key}` = '{value}'"
    found = _pages(lambda token: client.search_model_versions(filter_, max_results=PAGE, page_token=token))
    return [f"{version.name}-v{version.version}" for version in found]


def diff(client: MlflowClient, model: str, first: str, second: str) -> list[str]:
    """The names of what changed between two versions."""
    one, two = (client.get_run(client.get_model_version(model, number).run_id).data for number in (first, second))
    changed = [key for key in ("data", "commit", "image") if one.tags[key] != two.tags[key]]
    for a, b in ((one.params, two.params), (one.metrics, two.metrics)):
        changed += [name for name in {*a, *b} if a.get(name) != b.get(name)]
    return changed


QUESTIONS: dict[str, Callable[..., list[str]]] = {
    "models": models,
    "versions": of_model,
    "lineage": lineage,
    "tag": by_tag,
    "diff": diff,
}


def _equal(values: dict[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _pages(ask: Callable[[str | None], Any]) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = ask(token)
        found += page
        token = page.token
        if not token:
            return found


def main() -> None:
    """Fill or ask."""
    verb, uri, *words = sys.argv[1:]
    if verb == "fill":
        fill(uri, int(words[0]), int(words[1]))
        return
    repeat, name, *arguments = words
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    question = QUESTIONS[name]
    seconds = []
    for _ in range(int(repeat) + 1):
        begun = time.perf_counter()
        answer = sorted(question(client, *arguments))
        seconds.append(time.perf_counter() - begun)
    print(json.dumps({"answer": answer, "seconds": seconds}))


if __name__ == "__main__":
    main()
