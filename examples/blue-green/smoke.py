"""A smoke test of a candidate: ends with 0, or the rollout is given up. Needs nothing but Python."""

import json
import os
import urllib.request

url, model = os.environ["SLIPWAY_URL"], os.environ["SLIPWAY_MODEL"]
question = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}]}
request = urllib.request.Request(  # noqa: S310 - the operator says where the candidate is
    f"{url}/v2/models/{model}/infer", json.dumps(question).encode(), {"Content-Type": "application/json"}
)
with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
    (output,) = json.load(answer)["outputs"]
if None in output["data"] or len(output["data"]) != 10:
    raise SystemExit(f"ten numbers were expected, but {os.environ['SLIPWAY_MODEL_VERSION']} answers {output['data']}")
print("ten numbers, all of them finite")
