"""MLflow's side of the questions: a program for MLflow's own environment, which knows nothing of ours.

``fill`` writes the content into a tracking database; ``ask`` answers one question of a server, as a person's script
would, prints how many things it found and how long the requests took. Only MLflow's public client is used.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from content import Made, versions  # the directory of this file is on the path
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

PAGE = 1000


def fill(uri: str, models: int, threads: int) -> None:
    """Each version with its run: parameters, metrics, the data set as its input; data, commit and image are tags of
    the version too, because a registry search knows nothing of runs."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.create_experiment("training", artifact_location="/nowhere")
    everything = list(versions(models))
    for name in dict.fromkeys(made.model for made in everything):
        client.create_registered_model(name)
    by_model = [[m for m in everything if m.model == name] for name in dict.fromkeys(m.model for m in everything)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda of_one: [_write(client, experiment, made) for made in of_one], by_model))


def _write(client: MlflowClient, experiment: str, made: Made) -> None:
    run = client.create_run(experiment, run_name=made.name).info.run_id
    tags = {"data": made.data, "commit": made.commit, "image": made.image, "seed": "7"}
    client.log_batch(
        run,
        metrics=[Metric(name, float(value), 0, 0) for name, value in made.metrics],
        params=[Param(name, value) for name, value in made.parameters],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    dataset = Dataset(name="train", digest=made.data[7:40], source_type="s3", source="s3://data/train/")
    client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])
    client.set_terminated(run)
    made_version = client.create_model_version(made.model, f"s3://models/{made.name}", run, tags=tags)
    if made.alias:
        client.set_registered_model_alias(made.model, made.alias, made_version.version)


def models(client: MlflowClient) -> list[Any]:
    """Every model with its newest version and its aliases."""
    return _pages(lambda token: client.search_registered_models(max_results=PAGE, page_token=token))


def of_model(client: MlflowClient, model: str) -> list[Any]:
    """The versions of a model, each with its metrics: those are of the run."""
    found = _pages(lambda token: client.search_model_versions(f"name = '{model}'", max_results=PAGE, page_token=token))
    return [(v, client.get_run(v.run_id).data.metrics) for v in found]


def lineage(client: MlflowClient, model: str, number: str) -> list[Any]:
    """What one version was made of."""
    version = client.get_model_version(model, number)
    run = client.get_run(version.run_id)
    return [version, run.data.params, run.data.metrics, run.data.tags, *run.inputs.dataset_inputs]


def by_tag(client: MlflowClient, key: str, value: str) -> list[Any]:
    """The versions that were made of a data set, from a commit, in an image."""
    filter_ = f"tags.`{key}` = '{value}'"
    return _pages(lambda token: client.search_model_versions(filter_, max_results=PAGE, page_token=token))


def diff(client: MlflowClient, model: str, first: str, second: str) -> list[Any]:
    """What changed between two versions."""
    one, two = lineage(client, model, first), lineage(client, model, second)
    return [
        name for side in (1, 2, 3) for name in {*one[side], *two[side]} if one[side].get(name) != two[side].get(name)
    ]


def _pages(ask: Any) -> list[Any]:
    found, token = [], None
    while True:
        page = ask(token)
        found += page
        token = page.token
        if not token:
            return found


def main() -> None:
    verb, uri, *words = sys.argv[1:]
    if verb == "fill":
        fill(uri, int(words[0]), int(words[1]))
        return
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    question = {"models": models, "versions": of_model, "lineage": lineage, "tag": by_tag, "diff": diff}[words[0]]
    begun = time.perf_counter()
    found = question(client, *words[1:])
    print(json.dumps({"found": len(found), "requests": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()
