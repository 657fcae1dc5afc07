"""The commands by their words. What they do is imported when one of them runs: ``--help`` must not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.options import (
    ADeployment,
    AModel,
    ARun,
    AVersion,
    CardOutput,
    Context,
    Data,
    DataOutput,
    Everywhere,
    Format,
    Graph,
    GraphOutput,
    Kubeconfig,
    Limit,
    Namespace,
    Output,
    completer,
)

app = typer.Typer(
    name="kubectl slipway",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: it reads well in a pipe, and does not wait for rich.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
rollout = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(rollout, name="rollout", help="See a rollout, and move it by hand.")


@app.callback()
def slipway() -> None:
    """Models on Kubernetes: what was trained, where it came from, what serves.

    Everything happens with your own rights: what kubectl may not do for you, this may not either.

    \b
    Examples:
      kubectl slipway models                         what there is, and what of it serves
      kubectl slipway versions digits                the versions of one model, with their metrics
      kubectl slipway rollout get digits --watch     how far a rollout is
      kubectl slipway lineage digits-v3              which data, code, image made it, and who serves it
      kubectl slipway lineage --data sha256:e93...   what depends on a bad release of data
    """


@app.command()
def models(
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    output: Format = Output.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List models, and what of each serves.

    The newest version, who holds which alias, and which Deployments run what with how much of their traffic.

    \b
    Examples:
      kubectl slipway models
      kubectl slipway models -A -o json
    """
    from slipway.cli import listing
    from slipway.cli.client import Cluster

    listing.models(Cluster(kubeconfig, context), namespace, everywhere, output)


@app.command()
def versions(
    model: AModel,
    namespace: Namespace = None,
    limit: Limit = 20,
    output: Format = Output.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List the versions of a model.

    The newest first, with metrics, aliases and the Deployments that run them.

    \b
    Examples:
      kubectl slipway versions digits
      kubectl slipway versions digits --limit 0 -o wide
    """
    from slipway.cli import listing
    from slipway.cli.client import Cluster

    listing.versions(Cluster(kubeconfig, context), namespace, model, limit, output)


@app.command()
def runs(
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="MODEL", help="Only runs for this model.", show_default=False)
    ] = None,
    limit: Limit = 0,
    output: Format = Output.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List training runs, the newest first.

    \b
    Examples:
      kubectl slipway runs
      kubectl slipway runs --model digits --limit 10
    """
    from slipway.cli import listing
    from slipway.cli.client import Cluster

    listing.runs(Cluster(kubeconfig, context), namespace, everywhere, model, limit, output)


@app.command()
def logs(
    run: ARun,
    namespace: Namespace = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until the training ends.")] = False,
    tail: Annotated[int, typer.Option("--tail", min=-1, help="Only so many of the last lines; -1 for all.")] = -1,
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", min=1, help="1 for the first pod that still exists; the newest where absent."),
    ] = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Print what the training code of a run writes.

    Where the code itself could not be fetched, what the container wrote that fetches it.

    \b
    Examples:
      kubectl slipway logs digits-2
      kubectl slipway logs digits-2 --follow
    """
    from slipway.cli import logs as logs_
    from slipway.cli.client import Cluster

    logs_.copy(Cluster(kubeconfig, context), namespace, run, follow=follow, tail=tail, attempt=attempt)


# -------------------------------------------------------------------------------------------------------- lineage


@app.command()
def lineage(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]",
            help="A ModelVersion, or MODEL@ALIAS; with --at, a Deployment.",
            autocompletion=completer("modelversions"),
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="NAME", help="What made the model that answers there now.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIGEST|DATASET[@DIGEST]", help="What depends on this version of a data set."),
    ] = None,
    commit: Annotated[str | None, typer.Option("--commit", metavar="SHA", help="What depends on this commit.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="DIGEST", help="What was trained in this image.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="What the Deployment served then: 2026-11-22T10:00Z.")
    ] = None,
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    output: Graph = GraphOutput.TREE,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Follow a model to its data, or data to models.

    \b
    Examples:
      kubectl slipway lineage digits-v3                     which run, code, data, image made it; who serves it
      kubectl slipway lineage digits@champion -o dot | dot -Tsvg > lineage.svg
      kubectl slipway lineage --host digits.example.com     what made the model that answers there
      kubectl slipway lineage --data digits                 what depends on the Dataset's newest version
      kubectl slipway lineage --data sha256:e93881dc...     what depends on this content, whoever read it
      kubectl slipway lineage --commit $(git rev-parse HEAD) -A
      kubectl slipway lineage --image sha256:4f06b3a2...    what was trained in this image
      kubectl slipway lineage --at 2026-11-22T10:00Z digits what the Deployment digits served then
    """
    from slipway.cli import tracing
    from slipway.cli.client import Cluster

    asked = tracing.Asked(what, host, data, commit, image, at)
    tracing.trace(lambda: Cluster(kubeconfig, context), asked, namespace, everywhere, output)


@app.command()
def diff(
    first: AVersion,
    second: AVersion,
    namespace: Namespace = None,
    everything: Annotated[bool, typer.Option("--all", help="What is the same too.")] = False,
    output: Data = DataOutput.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Tell what changed between two versions.

    Data, code, image, parameters, seed, environment, metrics, the file and its signature.

    \b
    Examples:
      kubectl slipway diff digits-v1 digits-v2
      kubectl slipway diff digits@champion digits-v9 -o json
    """
    from slipway.cli import tracing
    from slipway.cli.client import Cluster

    tracing.diff(Cluster(kubeconfig, context), namespace, first, second, everything, output)


@app.command()
def reproducible(
    version: AVersion,
    namespace: Namespace = None,
    output: Data = DataOutput.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Tell whether a version can be made again.

    By what was recorded of it: code, image and data by digest, parameters and seed; and whether somebody did.

    \b
    Examples:
      kubectl slipway reproducible digits-v3
    """
    from slipway.cli import tracing
    from slipway.cli.client import Cluster

    tracing.reproducible(Cluster(kubeconfig, context), namespace, version, output)


# ----------------------------------------------------------------------------------------------------- the registry

Comment = Annotated[str | None, typer.Option("--comment", metavar="WORDS", help="Why.", show_default=False)]


@app.command()
def approve(
    version: AVersion,
    comment: Comment = None,
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest", metavar="SHA256", help="The file that you looked at; no other is approved.", show_default=False
        ),
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Approve a version, in your name.

    Who may is the verb "approve" on modelversions. It works on a version that was rejected too. A name may be used
    again after its version was deleted, a digest cannot: name the one that you looked at where others may delete.

    \b
    Examples:
      kubectl slipway approve digits-v3 --comment "good on the holdout of October"
      kubectl slipway approve digits-v3 --digest sha256:23d50bea9122...
    """
    from slipway.cli import deciding
    from slipway.cli.client import Cluster

    deciding.decide(Cluster(kubeconfig, context), namespace, version, "Approved", comment, digest)


@app.command()
def reject(
    version: AVersion,
    comment: Annotated[str, typer.Option("--comment", metavar="WORDS", help="Why; it must be said.")],
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Reject a version, in your name.

    It is not Ready any more; a Deployment that runs it goes on until it names another.

    \b
    Examples:
      kubectl slipway reject digits-v3 --comment "worse for the new scanners"
    """
    from slipway.cli import deciding
    from slipway.cli.client import Cluster

    deciding.decide(Cluster(kubeconfig, context), namespace, version, "Rejected", comment)


@app.command()
def alias(
    version: AVersion,
    name: Annotated[str, typer.Argument(metavar="ALIAS", show_default=False)],
    remove: Annotated[bool, typer.Option("--remove", help="Take it from this version.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Give a version an alias, or take it away.

    Deployments that follow the alias begin to roll the version out. To go back, give it to an earlier version.

    \b
    Examples:
      kubectl slipway alias digits-v3 champion
      kubectl slipway alias digits-v3 champion --remove
    """
    from slipway.cli import deciding
    from slipway.cli.client import Cluster

    deciding.alias(Cluster(kubeconfig, context), namespace, version, name, remove)


@app.command()
def archive(
    version: AVersion,
    undo: Annotated[bool, typer.Option("--undo", help="Let it be served again.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Keep a version from being served.

    \b
    Examples:
      kubectl slipway archive digits-v1
      kubectl slipway archive digits-v1 --undo
    """
    from slipway.cli import deciding
    from slipway.cli.client import Cluster

    deciding.archive(Cluster(kubeconfig, context), namespace, version, undo)


@app.command()
def promote(
    version: AVersion,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The namespace that gets the copy.")],
    uri: Annotated[
        str | None, typer.Option("--uri", metavar="S3", help="Where the copy's file lies, if it was copied too.")
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="PLACE", help="The S3 place of that namespace that reaches it.")
    ] = None,
    require_approval: Annotated[
        bool, typer.Option("--require-approval", help="The copy waits for an approval there.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the lineage.")] = 30,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Copy a version to another namespace.

    With its lineage and its digests; both namespaces must allow it. The steps of a rollout are "rollout promote".

    \b
    Examples:
      kubectl slipway promote digits-v3 --to prod -n staging
    """
    from slipway.cli import promoting
    from slipway.cli.client import Cluster

    place = {key: value for key, value in (("uri", uri), ("store", store)) if value is not None}
    api = Cluster(kubeconfig, context)
    promoting.promote(api, namespace, version, to, place, approval=require_approval, timeout=timeout)


@app.command()
def reproduce(
    version: AVersion,
    absolute: Annotated[
        str | None, typer.Option("--absolute", metavar="NUMBER", help="How far answers may be apart at all.")
    ] = None,
    relative: Annotated[
        str | None, typer.Option("--relative", metavar="NUMBER", help="And for each unit of the original's.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="RUN", help="The run's name; VERSION-again where absent.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the verdict; the exit status is 1 if it differs.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", min=0, help="With --wait: seconds to wait for the verdict; else as long as it takes."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the TrainingRun and make none.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Train a version once more, and compare.

    With the same code, image, data, parameters and seed. The verdict is Identical, WithinTolerance or Different, and
    is written to the version's lineage. No ModelVersion is made.

    \b
    Examples:
      kubectl slipway reproduce digits-v3 --wait
      kubectl slipway reproduce digits-v3 --relative 1e-2
    """
    from slipway.cli import again
    from slipway.cli.client import Cluster

    tolerance = (absolute, relative)
    again.reproduce(
        Cluster(kubeconfig, context),
        namespace,
        version,
        tolerance,
        called=name,
        wait=wait,
        dry_run=dry_run,
        timeout=timeout,
    )


@app.command()
def provenance(
    version: AVersion, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None
) -> None:
    """Print a version's SLSA provenance.

    As an in-toto statement: what other tools read of where it came from.

    \b
    Examples:
      kubectl slipway provenance digits-v3 > digits-v3.intoto.json
    """
    from slipway.cli import again
    from slipway.cli.client import Cluster

    again.provenance(Cluster(kubeconfig, context), namespace, version)


@app.command()
def card(
    version: AVersion,
    about: Annotated[
        Path | None, typer.Option("--about", metavar="FILE", help="YAML with what only people know (docs/cli.md).")
    ] = None,
    namespace: Namespace = None,
    output: Annotated[
        CardOutput, typer.Option("--output", "-o", help="A page, or CycloneDX for programs.")
    ] = CardOutput.MD,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Write a version's model card.

    For people as Markdown or a page for a browser; as JSON it is an ML-BOM in CycloneDX 1.6.

    \b
    Examples:
      kubectl slipway card digits-v3
      kubectl slipway card digits-v3 --about digits.yaml -o html > card.html
      kubectl slipway card digits-v3 -o json > digits-v3.cdx.json
    """
    from slipway.cli import carding
    from slipway.cli.client import Cluster

    carding.write(Cluster(kubeconfig, context), namespace, version, about, output)


@app.command()
def export(
    version: AVersion,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="An empty directory, or one that is made.")],
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="A copy of the ONNX file, instead of reading S3.")
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Write a version as an OCI artifact.

    An image layout in ModelPack's format: the file (its digest checked), a card and the provenance. It is read from S3
    with your own keys (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).

    \b
    Examples:
      kubectl slipway export digits-v3 --to digits-v3
      skopeo copy oci:digits-v3 docker://registry.example/models/digits:3
    """
    from slipway.cli import exporting
    from slipway.cli.client import Cluster

    exporting.export(Cluster(kubeconfig, context), namespace, version, to, file)


# -------------------------------------------------------------------------------------------------------- rollout


@rollout.command("get")
def rollout_get(
    deployment: ADeployment,
    namespace: Namespace = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    output: Format = Output.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show traffic, replicas, steps, evidence and history of a Deployment.

    \b
    Examples:
      kubectl slipway rollout get digits
      kubectl slipway rollout get digits --watch
    """
    from slipway.cli import rollouts
    from slipway.cli.client import Cluster

    rollouts.get(Cluster(kubeconfig, context), namespace, deployment, watch=watch, output=output)


def _verb(verb: str, words: str) -> None:
    @rollout.command(verb, help=words)
    def say(
        deployment: ADeployment,
        namespace: Namespace = None,
        timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the answer.")] = 30,
        context: Context = None,
        kubeconfig: Kubeconfig = None,
    ) -> None:
        from slipway.cli import rollouts
        from slipway.cli.client import Cluster

        rollouts.say(Cluster(kubeconfig, context), namespace, deployment, verb, timeout)


_verb("promote", "Go to the next step, whatever the present one waits for.")
_verb("promote-full", "Skip the steps: the candidate gets everything as soon as it is ready.")
_verb("abort", "Give all traffic back to the stable version.")
_verb("retry", "Begin anew with a version that was aborted.")
_verb("pause", "Stand still where it is.")
_verb("resume", "Go on after a pause.")
