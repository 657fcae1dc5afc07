"""Wiring: ``python3 -m slipway_server serve``, ``verify``, ``discard`` or ``examples``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from slipway.contract import MODEL_DIR
from slipway_server import examples


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and act; the exit status is one of ``slipway.contract``'s."""
    given = sys.argv[1:] if arguments is None else arguments
    return _examples(given[1:]) if given[:1] == ["examples"] else _run(given)


def _examples(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="slipway_server examples", description="Print the answers that disagreed with those of the peers."
    )
    parser.add_argument("--model-dir", type=Path, default=Path(MODEL_DIR), help="default: %(default)s")
    return examples.show(parser.parse_args(arguments).model_dir)


def _run(arguments: list[str]) -> int:
    # Here, because it takes onnxruntime along: `examples` runs beside a server, within the same limit of memory.
    from slipway_server import lifecycle, log
    from slipway_server.lifecycle import Options

    defaults = Options()
    parser = argparse.ArgumentParser(prog="slipway_server", description="The model server of Slipway.")
    parser.add_argument("action", choices=["serve", "verify", "discard"], help="or examples, which has a --help")
    parser.add_argument("--host", default=defaults.host, help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, default=defaults.port, help="inference (default: %(default)s)")
    parser.add_argument("--metrics-port", type=int, default=defaults.metrics_port, help="default: %(default)s")
    parser.add_argument("--model-dir", type=Path, default=defaults.model_dir, help="default: %(default)s")
    parser.add_argument("--termination-message", type=Path, default=defaults.termination_message)
    parser.add_argument("--memory", type=int, help="bytes it may use (default: the container's limit, if it has one)")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    given = parser.parse_args(arguments)
    log.set_up(given.log_level)
    options = Options(
        host=given.host,
        port=given.port,
        metrics_port=given.metrics_port,
        model_dir=given.model_dir,
        termination_message=given.termination_message,
        memory=given.memory,
    )
    actions = {"serve": lifecycle.serve, "verify": lifecycle.verify, "discard": lifecycle.discard}
    return lifecycle.run(actions[given.action], options)


if __name__ == "__main__":
    sys.exit(main())
