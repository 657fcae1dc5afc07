"""The model server of Slipway: one ONNX model, one version, Open Inference Protocol v2.

Runs in the user's pods. Of Slipway it imports ``slipway.contract`` and nothing else.
"""

from slipway import __version__ as __version__
