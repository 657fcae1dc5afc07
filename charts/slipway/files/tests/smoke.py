"""`helm test`: is the API served, and is the operator ready? Standard library only; runs in the operator's image."""

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
DEADLINE = time.monotonic() + float(os.environ["DEADLINE_SECONDS"])


def served_kinds():
    with Path(f"{ACCOUNT}/token").open() as token:
        headers = {"Authorization": f"Bearer {token.read()}"}
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    url = f"https://{host}:{port}/apis/slipway.dev/v1alpha1"
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context, timeout=5) as answer:
        return {r["kind"] for r in json.load(answer)["resources"] if "/" not in r["name"]}


def the_three_kinds_are_served():
    missing = {"TrainingRun", "ModelVersion", "Deployment"} - served_kinds()
    if missing:
        raise AssertionError(f"the API server does not serve {', '.join(sorted(missing))}: are the CRDs installed?")


def the_operator_is_ready():
    with urllib.request.urlopen(os.environ["READY_URL"], timeout=5) as answer:  # noqa: S310 - the chart wrote the URL
        answer.read()


def main():
    for check in (the_three_kinds_are_served, the_operator_is_ready):
        while True:
            try:
                check()
            except (OSError, AssertionError) as error:
                if time.monotonic() > DEADLINE:
                    sys.exit(f"failed: {check.__name__.replace('_', ' ')}: {error}")
                time.sleep(1)
            else:
                print(f"ok: {check.__name__.replace('_', ' ')}")
                break


main()
