"""The quickstart as one would type it: each command is printed before it runs, and nothing else changes the cluster.

``make demo`` sets everything up and runs this. By hand, on a running cluster: ``eval "$(make -s env)"``, then
``"$(make -s venv-path)"/bin/python examples/quickstart/demo.py``. The exit status is 0 if everything came out as
promised, and 1 with what the cluster says about it if not. It may run again on a cluster where it ran before.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
HERE = "examples/quickstart"
NAMESPACE = "digits"
HOST = "digits.example.com"
QUESTION = f"{HERE}/question.json"
NEEDED = ("KUBECONFIG", "SLIPWAY_GATEWAY_URL", "SLIPWAY_S3_ENDPOINT", "SLIPWAY_S3_ACCESS_KEY", "SLIPWAY_S3_SECRET_KEY")

TRAINED_WITHIN = 300.0
SERVED_WITHIN = 180.0
ROLLED_OUT_WITHIN = 240.0
CLIENTS = 4
ASKED_EACH_SECOND = 60.0

BEGUN = time.monotonic()
BOLD, DIM, END = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class Broken(Exception):
    """Something did not come out as promised; ``about`` is the object that knows more, as ``kind/name``."""

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


# -------------------------------------------------------------------------------------------- what one would type


def chapter(title: str) -> None:
    print(f"\n{BOLD}== {title}{END}   {DIM}[{time.monotonic() - BEGUN:.0f} s]{END}", flush=True)


def say(text: str) -> None:
    print(text, flush=True)


def show(command: str) -> None:
    print(f"{BOLD}$ {command}{END}", flush=True)


def run(command: str) -> str:
    """Print a command, run it as it was printed, print its output."""
    show(command)
    # With bash, as a person would: some of the commands have quotes. `python` is the one that runs this.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/bash", "-c", f"exec 2>&1; {command}"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False, env={**os.environ, "PATH": path},
    )  # fmt: skip
    if done.stdout:
        print(done.stdout.rstrip(), flush=True)
    if done.returncode != 0:
        raise Broken(f"the command above ended with exit status {done.returncode}")
    return done.stdout


def look(*arguments: str) -> str:
    """Ask kubectl something on the way, without telling; never changes anything."""
    return subprocess.run(["kubectl", *arguments], cwd=ROOT, text=True, capture_output=True, check=False).stdout


def read(kind: str, name: str) -> dict[str, Any]:
    text = look("get", kind, name, "--namespace", NAMESPACE, "--output", "json")
    return json.loads(text) if text else {}


@contextmanager
def watching(kind: str, name: str) -> Iterator[None]:
    """``kubectl get --watch`` until the block ends, each of its lines with the time."""
    command = f"kubectl get {kind} {name} --namespace {NAMESPACE} --watch"
    show(command)
    process = subprocess.Popen(
        shlex.split(command), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )

    def copy() -> None:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            if line != last:  # a change of something that no column shows
                print(f"{DIM}{time.monotonic() - BEGUN:4.0f} s{END}  {line.rstrip()}", flush=True)
            last = line

    copier = threading.Thread(target=copy, daemon=True)
    copier.start()
    try:
        yield
        time.sleep(0.5)  # the line of the last change
    finally:
        process.terminate()
        process.wait()
        copier.join()


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def wait(kind: str, name: str, done: Callable[[dict[str, Any]], bool], seconds: float, what: str) -> dict[str, Any]:
    """Look until ``done``.

    Raises:
        Broken: it did not happen in time, or the object says that waiting will not help.
    """
    deadline = time.monotonic() + seconds
    while True:
        obj = read(kind, name)
        if obj and done(obj):
            return obj
        stalled = condition(obj, "Stalled")
        if stalled.get("status") == "True":
            raise Broken(f"{kind} {name}: {stalled['reason']}: {stalled['message']}", f"{kind}/{name}")
        if time.monotonic() > deadline:
            raise Broken(f"{kind} {name}: {what} did not happen within {seconds:.0f} s", f"{kind}/{name}")
        time.sleep(0.5)


def is_true(kind: str) -> Callable[[dict[str, Any]], bool]:
    return lambda obj: condition(obj, kind).get("status") == "True"


# ------------------------------------------------------------------------------------------------------- traffic


@dataclass(frozen=True)
class Answer:
    at: float
    version: str
    failure: str


class Traffic:
    """Clients that ask the gateway all the time; each answer tells which version gave it.

    Half of them keep their connection, half open a new one for each question: the two fail in different ways.
    """

    def __init__(self, gateway: str) -> None:
        where = urlsplit(gateway)
        self._address = (where.hostname or "", where.port or 80)
        self._question = (ROOT / QUESTION).read_bytes()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(CLIENTS)]
        self.answers: list[Answer] = []

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _client(self, number: int) -> None:
        keeps = number % 2 == 0
        connection = http.client.HTTPConnection(*self._address, timeout=15)
        due = time.monotonic() + number / ASKED_EACH_SECOND
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += CLIENTS / ASKED_EACH_SECOND
            sent = time.monotonic()
            version, failure = "", ""
            try:
                headers = {"Host": HOST, "Content-Type": "application/json"}
                connection.request("POST", "/v2/models/digits/infer", self._question, headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    version = str(json.loads(body)["model_version"])
                else:
                    failure = f"status {answer.status}: {body[:200].decode(errors='replace')}"
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                failure = f"{type(error).__name__}: {error}"
            if failure or not keeps:
                connection.close()  # opens itself again
            self.answers.append(Answer(sent, version, failure))
        connection.close()


@dataclass
class Share:
    """What was answered while the gateway was known to give the candidate so many percent."""

    weight: int
    since: float
    until: float = 0.0

    def count(self, answers: list[Answer]) -> Counter[str]:
        return Counter("failed" if a.failure else a.version for a in answers if self.since <= a.at <= self.until)


def weights_of(obj: dict[str, Any], new: str) -> int | None:
    """Percent of the traffic that the new version has for sure; None while the gateway may still be moving."""
    status = obj.get("status", {})
    if status.get("stable", {}).get("modelVersion") == new:
        return 100
    weights = status.get("weights", {})
    return weights.get("candidate") if weights.get("verified") else None


def follow_rollout(new: str) -> list[Share]:
    """Note when which weights held, until the new version is the stable one and nothing is left to do."""
    shares: list[Share] = []

    def ended(obj: dict[str, Any]) -> bool:
        now, weight = time.monotonic(), weights_of(obj, new)
        if shares and not shares[-1].until and weight != shares[-1].weight:
            shares[-1].until = before[0]  # the weights may have moved at any time since the last look
        if weight and (not shares or shares[-1].weight != weight):
            shares.append(Share(weight, now))
        before[0] = now
        status = obj.get("status", {})
        return status.get("phase") == "Healthy" and status.get("stable", {}).get("modelVersion") == new

    before = [time.monotonic()]
    wait("mdeploy", "digits", ended, ROLLED_OUT_WITHIN, "the rollout")
    if shares and not shares[-1].until:
        shares[-1].until = time.monotonic()
    return shares


# ------------------------------------------------------------------------------------------------------ the story


def train(number: int) -> tuple[str, str]:
    """Run ``run-<number>.yaml``; the name of the version that came out, and its accuracy."""
    name = f"digits-{number}"
    run(f"kubectl apply -f {HERE}/run-{number}.yaml")
    with watching("trun", name):
        obj = wait("trun", name, is_true("Succeeded"), TRAINED_WITHIN, "the training")
    version = str(obj["status"]["modelVersion"])
    accuracy = next(m["value"] for m in obj["status"]["metrics"] if m["name"] == "accuracy")
    run(f"kubectl wait mver/{version} --for=condition=Ready --namespace {NAMESPACE} --timeout=120s")
    return version, accuracy


def ask(gateway: str) -> None:
    """The one request that a reader can repeat."""
    text = run(f"curl --silent --header 'Host: {HOST}' --json @{QUESTION} {gateway}/v2/models/digits/infer")
    answer = json.loads(text)
    if "outputs" not in answer:
        raise Broken("the question above was not answered", "mdeploy/digits")
    logits = answer["outputs"][0]["data"]
    say(f"The largest of the ten is that of {logits.index(max(logits))}; version {answer['model_version']} says so.")


def story(gateway: str) -> None:
    chapter("Data: 1,797 handwritten digits go into the S3 server")
    with tempfile.TemporaryDirectory() as scratch:
        run(f"python {HERE}/make_data.py {scratch}")
        run(f"python {HERE}/upload.py {scratch}/train.csv s3://data/digits/train.csv")
        run(f"python {HERE}/upload.py s3://models/")

    chapter("A namespace with an S3 place and the training code")
    if look("get", "namespace", NAMESPACE, "--output", "name"):
        say(f"An earlier run left the namespace {NAMESPACE}; this one begins anew.")
        run(f"kubectl delete namespace {NAMESPACE}")
    run(f"kubectl apply -f {HERE}/00-namespace.yaml -f {HERE}/store.yaml")
    run(f"kubectl create configmap digits-code --namespace {NAMESPACE} --from-file {HERE}/train.py")

    chapter("Train a first model")
    first, accuracy_of_first = train(1)
    say("Where it came from:")
    run(f"kubectl slipway lineage {first} --namespace {NAMESPACE}")

    chapter("Serve it")
    run(f"kubectl apply -f {HERE}/deployment.yaml")
    run(f"kubectl wait mdeploy/digits --for=condition=Ready --namespace {NAMESPACE} --timeout={SERVED_WITHIN:.0f}s")
    ask(gateway)

    with Traffic(gateway) as traffic:
        chapter(f"Train a better one, while {ASKED_EACH_SECOND:.0f} questions a second go through the gateway")
        second, accuracy_of_second = train(2)

        chapter(f"Roll it out: 10%, 50%, 100% of the traffic to {second}")
        run(f"diff {HERE}/deployment.yaml {HERE}/deployment-v2.yaml || true")
        run(f"kubectl apply -f {HERE}/deployment-v2.yaml")
        with watching("mdeploy", "digits"):
            shares = follow_rollout(second)
    run(f"kubectl slipway rollout get digits --namespace {NAMESPACE}")
    run(f"kubectl events --namespace {NAMESPACE} --for deployment.slipway.dev/digits")

    chapter("What came out")
    run(f"kubectl slipway models --namespace {NAMESPACE}")
    run(f"kubectl slipway diff {first} {second} --namespace {NAMESPACE}")
    say(f"accuracy   {first}: {accuracy_of_first}   {second}: {accuracy_of_second}")
    report(traffic.answers, shares, first, second)
    failed = [a for a in traffic.answers if a.failure]
    say(f"questions  {len(traffic.answers):,} asked, {len(failed)} failed requests")
    say(f"\nAsk it yourself:\n  curl --header 'Host: {HOST}' --json @{QUESTION} {gateway}/v2/models/digits/infer")
    say('Look around:  eval "$(make -s env)"; kubectl slipway models --namespace digits')
    say("Take everything away:  make down")
    if failed:
        raise Broken(f"{len(failed)} requests failed, the first: {failed[0].failure}", "mdeploy/digits")
    if [share.weight for share in shares] != [10, 50, 100]:
        raise Broken(f"the canary went {[s.weight for s in shares]} and not 10, 50, 100", "mdeploy/digits")
    if float(accuracy_of_second) <= float(accuracy_of_first):
        raise Broken("the second model is not better than the first")


def report(answers: list[Answer], shares: list[Share], first: str, second: str) -> None:
    """A line for each step: who answered how many questions."""
    say(f"{'step':<8} {'asked':>7} {first:>16} {second:>16} {'failed':>8}")
    for share in shares:
        count = share.count(answers)
        total = count.total()
        cells = []
        for name in (first, second):
            n = count[name.removeprefix("digits-v")]
            cells.append(f"{n:,} ({100 * n / total if total else 0:.1f}%)")
        say(f"{share.weight:>3}%     {total:>7,} {cells[0]:>16} {cells[1]:>16} {count['failed']:>8}")


def explain(broken: Broken) -> None:
    """Everything the cluster knows about what went wrong, to standard error."""
    tell = sys.stderr.write
    tell(f"\nThe demo did not come out as promised after {time.monotonic() - BEGUN:.0f} s: {broken}\n")
    kind, _, name = broken.about.partition("/")
    if name:
        obj = read(kind, name)
        tell(f"\n-- {broken.about}\n{json.dumps(obj.get('spec'))}\n{json.dumps(obj.get('status'), indent=1)}\n")
    ours, operator = "app.kubernetes.io/managed-by=slipway", "app.kubernetes.io/name=slipway"
    here = ("--namespace", NAMESPACE)
    for title, arguments in {
        "objects": ("get", "slipway,jobs,pods,services,httproutes", *here, "--output", "wide"),
        "events": ("get", "events", *here, "--sort-by", ".metadata.creationTimestamp"),
        "pods' logs": ("logs", *here, "--selector", ours, "--prefix", "--tail", "30"),
        "the operator's log": ("logs", "-n", "slipway-system", "--selector", operator, "--prefix", "--tail", "40"),
    }.items():
        tell(f"\n-- {title}\n{look(*arguments)}")


def main() -> int:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        print(f'{", ".join(missing)} not set: run `make demo`, or eval "$(make -s env)" first', file=sys.stderr)
        return 1
    try:
        story(os.environ["SLIPWAY_GATEWAY_URL"].rstrip("/"))
    except Broken as broken:
        explain(broken)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was made is still there", file=sys.stderr)
        return 130
    say(f"\nDone in {time.monotonic() - BEGUN:.0f} s. The cluster stays up.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
