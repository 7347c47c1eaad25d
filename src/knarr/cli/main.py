"""``knarr``: clusters on this machine.

Commands that act on a cluster take its name, ``dev`` unless given. Errors are one line on standard error that
says what to do; the exit code is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from knarr import KUBERNETES_VERSION, __version__
from knarr.cli.struct_flags import AccessCommand, ControllerManagerCommand, SchedulerCommand

DEFAULT_NAME = "dev"


class _Group(click.Group):
    """Turns the errors users can cause into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (RuntimeError, ValueError) as error:
            click.echo(f"knarr: {error}", err=True)
            sys.exit(1)


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output stays for results."""
    click.echo(f"knarr: {text}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(f"{__version__} (Kubernetes {KUBERNETES_VERSION})", prog_name="knarr")
def main() -> None:
    """Kubernetes written in Python: whole clusters on this machine."""


@main.command()
def setup() -> None:
    """Install the system packages that nodes need (Debian, as root)."""
    from knarr.cluster import packages

    lacking = packages.missing()
    if not lacking:
        say("everything is there")
        return
    packages.install(lacking, say=say)
    say("done")


@main.command()
@click.argument("name", default=DEFAULT_NAME)
@click.option("--nodes", type=click.IntRange(1, 256), help="How many nodes; more can be added later.")
@click.option("--store", help="Where objects are kept: sqlite (default) or memory:.")
@click.option("--simulated-nodes", type=click.IntRange(0, 5000), help="Nodes that only pretend to run pods.")
@click.option(
    "--extra-config", multiple=True, help="apiserver.FLAG=VALUE: any flag of `knarr apiserver` that protects it."
)
def up(
    name: str, nodes: int | None, store: str | None, simulated_nodes: int | None, extra_config: tuple[str, ...]
) -> None:
    """Start the cluster NAME and merge its context into the kubeconfig."""
    from knarr.cluster.up import UpOptions
    from knarr.cluster.up import up as start

    options = UpOptions(nodes=nodes, store=store, simulated_nodes=simulated_nodes)
    options.extra_config = list(extra_config) or None
    start(name, options, say=say)
    say(f"context knarr-{name} is set; try: kubectl get nodes")


@main.command()
@click.argument("name", default=DEFAULT_NAME)
def down(name: str) -> None:
    """Stop the cluster NAME; its objects stay."""
    from knarr.cluster.down import down as stop

    stop(name, say=say)


@main.command()
@click.argument("name", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="Every cluster on this machine, also what a crash left."
)
def delete(name: str | None, everything: bool) -> None:
    """Stop the cluster NAME and erase everything of it."""
    from knarr.cluster.down import delete as erase
    from knarr.cluster.layout import clusters

    if not name and not everything:
        raise click.UsageError("name a cluster, or say --all")
    for each in clusters() if everything else [name or DEFAULT_NAME]:
        erase(each, say=say)


@main.command("list")
def list_clusters() -> None:
    """List the clusters on this machine."""
    from knarr.cluster import processes
    from knarr.cluster.layout import Layout, clusters

    for name in clusters():
        layout = Layout(name)
        record = layout.read()
        status = processes.tell(layout, do="status")
        state = "running" if status else "stopped"
        click.echo(f"{name}\t{state}\t{record.nodes if record else 0} nodes\tcontext {layout.context}")


@main.command()
@click.argument("name", default=DEFAULT_NAME)
def status(name: str) -> None:
    """Show the processes of the cluster NAME."""
    from knarr.cluster import processes
    from knarr.cluster.layout import Layout

    answer = processes.tell(Layout(name), do="status")
    if answer is None:
        raise RuntimeError(f"cluster {name} is not running: start it with 'knarr up {name}'")
    for component, facts in answer.items():
        running = f"pid {facts['pid']}" if facts["pid"] else "stopped"
        click.echo(f"{component}\t{running}\trestarts {facts['restarts']}")


@main.group()
def node() -> None:
    """Switch nodes off and on, or cut them off."""


@node.command("stop")
@click.argument("node_name")
@click.option("--cluster", "name", default=DEFAULT_NAME)
def node_stop(node_name: str, name: str) -> None:
    """End a node as a power cut would."""
    from knarr.cluster.down import stop_node

    stop_node(name, node_name)


@node.command("start")
@click.argument("node_name")
@click.option("--cluster", "name", default=DEFAULT_NAME)
def node_start(node_name: str, name: str) -> None:
    """Switch a stopped node on again."""
    from knarr.cluster.down import start_node

    start_node(name, node_name)


@main.group()
def image() -> None:
    """Bring images to a cluster where no registry is in reach."""


@image.command("load")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--cluster", "name", default=DEFAULT_NAME)
@click.option("--as", "reference", default="", help="A name for an archive that names nothing.")
def image_load(archive: Path, name: str, reference: str) -> None:
    """Load an OCI or `docker save` archive into every node."""
    from knarr.cluster.containerd import Containerd
    from knarr.cluster.images import load_archive
    from knarr.cluster.layout import Layout

    layout = Layout(name)
    record = layout.read()
    if record is None:
        raise RuntimeError(f"there is no cluster {name}")
    for number, node_name in enumerate(layout.node_names(record)):
        if node_name in record.stopped_nodes:
            continue
        names = load_archive(Containerd(layout.node(record, number)).socket, archive, reference)
        say(f"{node_name}: {', '.join(names)}")


@main.command()
@click.argument("name", default=DEFAULT_NAME)
def kubeconfig(name: str) -> None:
    """Print the administrator's kubeconfig of the cluster NAME."""
    from knarr.cluster.layout import Layout

    path = Layout(name).kubeconfig("admin")
    if not path.exists():
        raise RuntimeError(f"there is no cluster {name}")
    click.echo(path.read_text(), nl=False)


@main.command()
@click.option(
    "-f", "--filename", "files", multiple=True, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "--cluster", "name", help="A cluster on this machine; otherwise the kubeconfig's current context."
)
@click.option("-n", "--namespace", default="", help="Where objects go that do not say so themselves.")
@click.option("--wait", "wait_s", default=0, help="Wait this many seconds until Deployments are available.")
def apply(files: tuple[Path, ...], name: str | None, namespace: str, wait_s: int) -> None:
    """Make the cluster hold what files or folders say."""
    from knarr.cli.objects import run_apply

    run_apply(list(files), cluster=name or "", namespace=namespace, wait_s=wait_s)


@main.command()
@click.argument("service")
@click.option(
    "--cluster", "name", help="A cluster on this machine; otherwise the kubeconfig's current context."
)
@click.option("-n", "--namespace", default="", help="The service's namespace.")
def where(service: str, name: str | None, namespace: str) -> None:
    """Print where a service answers."""
    from knarr.cli.objects import run_where

    run_where(service, cluster=name or "", namespace=namespace)


@main.command(cls=AccessCommand)
@click.option("--store", required=True, help="sqlite:///PATH or memory:")
@click.option("--host", required=True, help="The address to listen on and to be known by.")
@click.option("--port", default=6443, show_default=True)
@click.option("--certificate", required=True, type=click.Path(exists=True))
@click.option("--key", required=True, type=click.Path(exists=True))
@click.option("--client-ca", required=True, type=click.Path(exists=True))
@click.option("--service-account-key", required=True, type=click.Path(exists=True))
@click.option("--kubelet-certificate", default="", help="Client certificate for kubelets.")
@click.option("--kubelet-key", default="")
@click.option("--service-cidr", default="10.96.0.0/16", show_default=True)
@click.option("--service-address", default="10.96.0.1", show_default=True)
def apiserver(access: Any, **options: Any) -> None:
    """Run an API server alone."""
    from knarr.cluster.components import ApiServerOptions
    from knarr.cluster.run import start

    start("apiserver", ApiServerOptions(access=access, **options))


@main.command("controller-manager", cls=ControllerManagerCommand)
@click.option("--kubeconfig", required=True, type=click.Path(exists=True))
@click.option("--root-ca", required=True, type=click.Path(exists=True))
@click.option("--cluster-cidr", default="", help="Give each node a range of pod addresses out of this one.")
@click.option(
    "--load-balancer-cidr", default="", help="Give services of type LoadBalancer addresses out of this one."
)
@click.option(
    "--scheduler-kubeconfig", default="", help="Run the scheduler in the same process, with this identity."
)
@click.option("--cluster-signing-cert-file", default="", help="The authority that signs certificates on request.")
@click.option("--cluster-signing-key-file", default="", help="Its key.")
@click.option(
    "--cluster-signing-duration", default="8760h0m0s", show_default=True, help="How long they last at most."
)
def controller_manager(election: Any, **options: Any) -> None:
    """Run the controllers alone."""
    from knarr.cluster.components import ControlOptions
    from knarr.cluster.run import start

    election.check()
    start("controller-manager", ControlOptions(election=election, **options))


@main.command(cls=SchedulerCommand)
@click.option("--kubeconfig", required=True, type=click.Path(exists=True))
def scheduler(kubeconfig: str, election: Any) -> None:
    """Run a scheduler alone."""
    from knarr.cluster.components import SchedulerOptions
    from knarr.cluster.run import start

    election.check()
    start("scheduler", SchedulerOptions(kubeconfig=kubeconfig, election=election))


if __name__ == "__main__":
    main()
