"""Every command of kubectl 1.33, and what a user runs to see that it works.

One ``Case`` a command: a shell script, run in a namespace that has the Deployment ``web`` and the pod ``box``, and what its output must hold.
Scripts end at the first failure; ``kubectl`` is the version under test.

Neighbours: ``test_kubectl_commands`` runs them; ``docs/kubectl.md`` is written from them by ``python tests/e2e/kubectl_commands.py``, and
``tools/check_docs.py`` looks that it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["CASES", "COMMON", "Case", "document"]


class Case(NamedTuple):
    """``expect`` are parts of the output, in order. ``note`` says what is other than one might think."""

    command: str
    script: str
    expect: tuple[str, ...] = ()
    note: str = ""


def _makes(command: str, arguments: str, *expect: str) -> Case:
    return Case(command, f"kubectl {command} {arguments}", expect or ("created",))


def _group(command: str, *subcommands: str) -> Case:
    return Case(command, f"kubectl {command} --help", subcommands)


_CSR = """openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $TMP/key -subj /CN=jane -out $TMP/csr 2>/dev/null
kubectl create -f - <<EOF
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: NAME-$NS}
spec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], request: $(base64 -w0 $TMP/csr)}
EOF
"""
_CONFIG = "cp $KUBECONFIG $TMP/config; export KUBECONFIG=$TMP/config\n"
_APPLIED = "kubectl create configmap NAME --from-literal=a=before --dry-run=client -o yaml | grep -v creationTimestamp > $TMP/NAME.yaml\nkubectl apply -f $TMP/NAME.yaml\n"

CASES: tuple[Case, ...] = (
    Case("create", "printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: made}\\n' | kubectl create -f -", ("configmap/made created",)),
    _makes("create clusterrole", "reader-$NS --verb=get,list --resource=pods", "created"),
    _makes("create clusterrolebinding", "reading-$NS --clusterrole=view --user=jane", "created"),
    Case("create configmap", "kubectl create configmap settings --from-literal=a=1\nkubectl get configmap settings -o jsonpath={.data.a}", ("created", "1")),
    _makes("create cronjob", "tick --image=busybox:1.36 --schedule='0 0 1 1 *' -- true"),
    _makes("create deployment", "made --image=busybox:1.36 --replicas=0"),
    _makes("create ingress", "front --rule='example.com/=web:80'"),
    Case(
        "create job",
        "kubectl create job once --image=busybox:1.36 -- echo done\nkubectl wait --for=condition=Complete job/once --timeout=60s\nkubectl logs job/once",
        ("created", "condition met", "done"),
    ),
    Case("create namespace", "kubectl create namespace made-$NS\nkubectl delete namespace made-$NS --wait=false", ("created", "deleted")),
    _makes("create poddisruptionbudget", "keep --selector=app=none --min-available=1"),
    _makes("create priorityclass", "high-$NS --value=1000"),
    Case("create quota", "kubectl create quota few --hard=count/widgets.example.com=5\nkubectl get quota few -o jsonpath={.spec.hard}", ("created", "widgets")),
    _makes("create role", "reader --verb=get --resource=pods --resource-name=box"),
    _makes("create rolebinding", "reading --role=reader --serviceaccount=$NS:default"),
    _group("create secret", "docker-registry", "generic", "tls"),
    _makes("create secret docker-registry", "pull --docker-server=example.com --docker-username=u --docker-password=p"),
    Case(
        "create secret generic",
        "kubectl create secret generic key --from-literal=a=1\nkubectl get secret key -o go-template='{{.data.a | base64decode}}'",
        ("created", "1"),
    ),
    Case(
        "create secret tls",
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -keyout $TMP/key -out $TMP/crt 2>/dev/null\n"
        "kubectl create secret tls cert --cert=$TMP/crt --key=$TMP/key",
        ("created",),
    ),
    _group("create service", "clusterip", "externalname", "loadbalancer", "nodeport"),
    _makes("create service clusterip", "inside --tcp=80:8080"),
    _makes("create service externalname", "outside --external-name=example.com"),
    Case(
        "create service loadbalancer",
        "kubectl create service loadbalancer front --tcp=80:8080\n"
        "kubectl wait --for=jsonpath='{.status.loadBalancer.ingress}' service/front --timeout=30s",
        ("created", "condition met"),
    ),
    _makes("create service nodeport", "port --tcp=80:8080"),
    _makes("create serviceaccount", "robot"),
    Case("create token", "kubectl create token default --duration=10m | cut -d. -f2 | tr _- /+ | base64 -d 2>/dev/null || true", ("system:serviceaccount:",)),
    Case("expose", "kubectl expose deployment web --name=exposed --port=80 --target-port=8080\nkubectl get service exposed", ("exposed", "80/TCP")),
    Case(
        "run",
        "kubectl run told --image=busybox:1.36 --restart=Never -- echo told-you\n"
        "kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/told --timeout=60s\nkubectl logs told",
        ("created", "condition met", "told-you"),
    ),
    _group("set", "env", "image", "resources", "selector", "serviceaccount", "subject"),
    Case(
        "set env",
        "kubectl create deployment e --image=busybox:1.36 --replicas=0\nkubectl set env deployment/e COLOR=red\nkubectl set env deployment/e --list",
        ("env updated", "COLOR=red"),
    ),
    Case(
        "set image",
        "kubectl create deployment i --image=busybox:1.36 --replicas=0\nkubectl set image deployment/i busybox=busybox:2\n"
        "kubectl get deployment i -o jsonpath={..image}",
        ("image updated", "busybox:2"),
    ),
    Case(
        "set resources",
        "kubectl create deployment r --image=busybox:1.36 --replicas=0\nkubectl set resources deployment/r --limits=cpu=200m --requests=cpu=100m\n"
        "kubectl get deployment r -o jsonpath={..resources}",
        ("requirements updated", "200m"),
    ),
    Case(
        "set selector",
        "kubectl create service clusterip s --tcp=80\nkubectl set selector service s 'app=other'\nkubectl get service s -o jsonpath={.spec.selector}",
        ("selector updated", "other"),
    ),
    Case(
        "set serviceaccount",
        "kubectl create deployment a --image=busybox:1.36 --replicas=0\nkubectl set serviceaccount deployment a default",
        ("serviceaccount updated",),
    ),
    Case(
        "set subject",
        "kubectl create rolebinding b --clusterrole=view --user=jane\nkubectl set subject rolebinding b --user=joe\nkubectl get rolebinding b -o jsonpath={.subjects[*].name}",
        ("subjects updated", "jane joe"),
    ),
    Case("explain", "kubectl explain pod.spec.containers.image", ("FIELD: image", "<string>")),
    Case("get", "kubectl get pods,deployments -o wide\ntimeout 3 kubectl get pods --watch || test $? = 124", ("pod/box", "deployment.apps/web", "box")),
    Case(
        "edit",
        "kubectl create configmap edited --from-literal=a=before\nKUBE_EDITOR='sed -i s/before/after/' kubectl edit configmap edited\n"
        "kubectl get configmap edited -o jsonpath={.data.a}",
        ("edited", "after"),
    ),
    Case(
        "delete",
        "kubectl create configmap gone -o name\nkubectl label configmap gone x=y\nkubectl delete configmap -l x=y\nkubectl get configmap gone --ignore-not-found -o name | wc -l",
        ("deleted", "0"),
    ),
    _group("rollout", "history", "pause", "restart", "resume", "status", "undo"),
    Case("rollout history", "kubectl rollout history deployment/web", ("REVISION", "1")),
    Case("rollout pause", "kubectl create deployment p --image=busybox:1.36 --replicas=0\nkubectl rollout pause deployment/p", ("paused",)),
    Case(
        "rollout restart",
        "kubectl rollout restart deployment/web\nkubectl rollout status deployment/web --timeout=60s",
        ("restarted", "successfully rolled out"),
    ),
    Case(
        "rollout resume",
        "kubectl create deployment q --image=busybox:1.36 --replicas=0\nkubectl rollout pause deployment/q\nkubectl rollout resume deployment/q",
        ("paused", "resumed"),
    ),
    Case("rollout status", "kubectl rollout status deployment/web --timeout=60s", ("successfully rolled out",)),
    Case(
        "rollout undo",
        "kubectl create deployment u --image=busybox:1.36 --replicas=0\nkubectl rollout status deployment/u --timeout=30s\n"
        "kubectl set image deployment/u busybox=busybox:2\nkubectl rollout status deployment/u --timeout=30s\n"
        "kubectl rollout undo deployment/u\nkubectl get deployment u -o jsonpath={..image}",
        ("rolled back", "busybox:1.36"),
    ),
    Case("scale", "kubectl scale deployment/web --replicas=2\nkubectl rollout status deployment/web --timeout=60s\nkubectl scale deployment/web --replicas=1", ("scaled",)),
    Case("autoscale", "kubectl autoscale deployment web --min=1 --max=2\nkubectl get hpa web", ("autoscaled", "Deployment/web")),
    _group("certificate", "approve", "deny"),
    Case(
        "certificate approve",
        _CSR.replace("NAME", "good")
        + "kubectl certificate approve good-$NS\nkubectl wait --for=condition=Approved csr/good-$NS --timeout=30s\nkubectl delete csr good-$NS",
        ("approved", "condition met"),
        note="approves; a certificate is issued where a signer runs",
    ),
    Case(
        "certificate deny",
        _CSR.replace("NAME", "bad") + "kubectl certificate deny bad-$NS\nkubectl get csr bad-$NS --no-headers\nkubectl delete csr bad-$NS",
        ("denied", "Denied"),
    ),
    Case("cluster-info", "kubectl cluster-info", ("control plane",)),
    Case("cluster-info dump", "kubectl cluster-info dump --namespaces=$NS --output-directory=$TMP/dump\nls $TMP/dump/$NS", ("pods.json",)),
    _group("top", "node", "pod"),
    Case("top node", "kubectl top node", ("CPU(cores)", "MEMORY(bytes)", "%"), note="no metrics-server has to run"),
    Case(
        "top pod",
        "until kubectl top pod box >/dev/null 2>&1; do sleep 1; done\nkubectl top pod --containers --sum",
        ("POD", "NAME", "CPU(cores)", "box"),
        note="no metrics-server has to run; a container is shown from its eleventh second on, as metrics-server does",
    ),
    Case("cordon", "kubectl cordon $NODE\nkubectl get node $NODE --no-headers\nkubectl uncordon $NODE", ("cordoned", "SchedulingDisabled")),
    Case("uncordon", "kubectl cordon $NODE\nkubectl uncordon $NODE\nkubectl get node $NODE -o jsonpath='[{.spec.unschedulable}]'", ("uncordoned", "[]")),
    Case(
        "drain",
        "kubectl run leaver --image=busybox:1.36 --labels=leave=$NS -- sleep 600\nkubectl wait --for=condition=Ready pod/leaver --timeout=60s\n"
        "kubectl drain $NODE --pod-selector=leave=$NS --force --ignore-daemonsets --grace-period=1 --timeout=60s\nkubectl uncordon $NODE",
        ("cordoned", "evict", "drained"),
    ),
    Case("taint", "kubectl taint node $NODE mark=$NS:PreferNoSchedule\nkubectl taint node $NODE mark-", ("tainted", "untainted")),
    Case("describe", "kubectl describe pod box", ("Name:", "box", "Events:")),
    Case("logs", "kubectl logs box --tail=1\nkubectl logs deployment/web", ("ready to talk",)),
    Case("attach", "timeout 5 kubectl attach box || test $? = 124", ("tick",)),
    Case("exec", "kubectl exec box -- sh -c 'echo in; exit 3' || echo code $?\necho text | kubectl exec -i box -- cat", ("in", "code 3", "text")),
    Case(
        "port-forward",
        "kubectl port-forward deployment/web :8080 > $TMP/pf & PID=$!\n"
        "for i in $(seq 50); do grep -q Forwarding $TMP/pf && break; sleep 0.1; done\n"
        "curl -s http://127.0.0.1:$(sed -n 's/.*127.0.0.1:\\([0-9]*\\) .*/\\1/p' $TMP/pf | head -1)/; kill $PID",
        ("hello",),
    ),
    Case(
        "proxy",
        "kubectl proxy --port=0 > $TMP/px & PID=$!\nfor i in $(seq 50); do grep -q Starting $TMP/px && break; sleep 0.1; done\n"
        "curl -s http://$(sed 's/.* on //' $TMP/px)/api/v1/namespaces/$NS/pods/box; kill $PID",
        ('"kind":"Pod"',),
    ),
    Case(
        "cp",
        "echo carried > $TMP/file\nkubectl cp $TMP/file box:/tmp/file\nkubectl cp box:/tmp/file $TMP/back\ncat $TMP/back",
        ("carried",),
    ),
    _group("auth", "can-i", "reconcile", "whoami"),
    Case("auth can-i", "kubectl auth can-i create pods\nkubectl auth can-i get pods --as=nobody || true\nkubectl auth can-i --list", ("yes", "no", "Resources")),
    Case(
        "auth reconcile",
        "kubectl create role rec --verb=get --resource=pods --dry-run=client -o yaml > $TMP/role\nkubectl auth reconcile -f $TMP/role\nkubectl auth reconcile -f $TMP/role",
        ("role.rbac.authorization.k8s.io/rec reconciled",),
    ),
    Case("auth whoami", "kubectl auth whoami", ("Username",)),
    Case(
        "debug",
        "kubectl debug box --image=busybox:1.36 --profile=general --container=look -- sleep 600\n"
        "kubectl wait --for=jsonpath='{.status.ephemeralContainerStatuses[0].state.running}' pod/box --timeout=60s\n"
        "kubectl exec box -c look -- echo looked",
        ("looked",),
    ),
    Case("events", "kubectl events --for=pod/box", ("Scheduled",)),
    Case(
        "diff",
        _APPLIED.replace("NAME", "differs") + "sed -i s/before/after/ $TMP/differs.yaml\nkubectl diff -f $TMP/differs.yaml || test $? = 1",
        ("-  a: before", "+  a: after"),
    ),
    Case(
        "apply",
        _APPLIED.replace("NAME", "applied") + "kubectl apply -f $TMP/applied.yaml\nkubectl apply --server-side --force-conflicts -f $TMP/applied.yaml",
        ("created", "unchanged", "serverside-applied"),
    ),
    Case(
        "apply edit-last-applied",
        _APPLIED.replace("NAME", "editlast")
        + "KUBE_EDITOR='sed -i s/before/after/' kubectl apply edit-last-applied configmap/editlast\nkubectl apply view-last-applied configmap/editlast",
        ("edited", "a: after"),
    ),
    Case(
        "apply set-last-applied",
        _APPLIED.replace("NAME", "setlast") + "kubectl apply set-last-applied -f $TMP/setlast.yaml",
        ("configured",),
    ),
    Case("apply view-last-applied", _APPLIED.replace("NAME", "viewlast") + "kubectl apply view-last-applied configmap/viewlast", ("created", "a:")),
    Case(
        "patch",
        "kubectl create configmap patched --from-literal=a=1\n"
        "kubectl patch configmap patched -p '{\"data\":{\"a\":\"2\"}}'\n"
        "kubectl patch configmap patched --type=merge -p '{\"data\":{\"b\":\"3\"}}'\n"
        "kubectl patch configmap patched --type=json -p '[{\"op\":\"remove\",\"path\":\"/data/a\"}]'\nkubectl get configmap patched -o jsonpath={.data}",
        ("patched", '{"b":"3"}'),
    ),
    Case(
        "replace",
        "kubectl create configmap replaced --from-literal=a=1\nkubectl create configmap replaced --from-literal=a=2 --dry-run=client -o yaml | kubectl replace -f -\n"
        "kubectl create configmap replaced --from-literal=a=3 --dry-run=client -o yaml | kubectl replace --force -f -\nkubectl get configmap replaced -o jsonpath={.data.a}",
        ("replaced", "deleted", "3"),
    ),
    Case("wait", "kubectl wait --for=condition=Ready pod/box --timeout=30s\nkubectl wait --for=delete pod/none --timeout=5s", ("condition met",)),
    Case(
        "kustomize",
        "mkdir $TMP/k; printf 'namePrefix: pre-\\nconfigMapGenerator:\\n- {name: x, literals: [a=1]}\\n' > $TMP/k/kustomization.yaml\n"
        "kubectl kustomize $TMP/k\nkubectl apply -k $TMP/k",
        ("name: pre-x", "created"),
    ),
    Case("label", "kubectl label pod box colour=red\nkubectl get pods -l colour=red -o name\nkubectl label pod box colour-", ("labeled", "pod/box", "unlabeled")),
    Case("annotate", "kubectl annotate pod box note=x\nkubectl annotate pod box note-", ("annotated",)),
    Case("completion", "kubectl completion bash\nkubectl __complete --namespace=$NS get pods bo 2>/dev/null", ("__start_kubectl", "box")),
    Case("api-resources", "kubectl api-resources", ("NAME", "pods", "deployments")),
    Case("api-versions", "kubectl api-versions", ("apps/v1", "v1")),
    _group("config", "current-context", "set-context", "view"),
    Case("config current-context", "kubectl config current-context", ("knarr-",)),
    Case("config delete-cluster", _CONFIG + "kubectl config set-cluster x --server=https://x\nkubectl config delete-cluster x", ("deleted cluster x",)),
    Case("config delete-context", _CONFIG + "kubectl config set-context x\nkubectl config delete-context x", ("deleted context x",)),
    Case("config delete-user", _CONFIG + "kubectl config set-credentials x --token=t\nkubectl config delete-user x", ("deleted user x",)),
    Case("config get-clusters", "kubectl config get-clusters", ("NAME", "knarr-")),
    Case("config get-contexts", "kubectl config get-contexts", ("CURRENT", "knarr-")),
    Case("config get-users", "kubectl config get-users", ("NAME", "knarr-")),
    Case("config rename-context", _CONFIG + "kubectl config rename-context $(kubectl config current-context) other\nkubectl get pod box", ("renamed", "box")),
    Case("config set", _CONFIG + "kubectl config set clusters.x.server https://x\nkubectl config view", ("set.", "https://x")),
    Case("config set-cluster", _CONFIG + "kubectl config set-cluster x --server=https://x", ("set.",)),
    Case("config set-context", _CONFIG + "kubectl config set-context --current --namespace=$NS\nkubectl get pod box", ("modified", "box")),
    Case(
        "config set-credentials",
        _CONFIG + "kubectl config set-credentials robot --token=$(kubectl create token default)\nkubectl --user=robot auth whoami",
        ("set.", "system:serviceaccount:"),
    ),
    Case("config unset", _CONFIG + "kubectl config unset current-context", ("unset",)),
    Case("config use-context", _CONFIG + "kubectl config use-context $(kubectl config current-context)\nkubectl get pod box", ("Switched", "box")),
    Case("config view", "kubectl config view", ("apiVersion: v1", "server: https://")),
    _group("plugin", "list"),
    Case(
        "plugin list",
        "printf '#!/bin/sh\\necho from plugin\\n' > $TMP/kubectl-hello; chmod +x $TMP/kubectl-hello\nPATH=$TMP:$PATH kubectl plugin list 2>&1\nPATH=$TMP:$PATH kubectl hello",
        ("kubectl-hello", "from plugin"),
    ),
    Case("version", "kubectl version", ("Client Version", "Server Version")),
)

#: What every supported kubectl is tried with.
COMMON = (
    "top node",
    "create",
    "create token",
    "get",
    "describe",
    "logs",
    "exec",
    "cp",
    "port-forward",
    "apply",
    "diff",
    "patch",
    "replace",
    "edit",
    "delete",
    "scale",
    "rollout restart",
    "rollout undo",
    "wait",
    "explain",
    "api-resources",
    "auth can-i",
    "label",
    "run",
    "events",
    "version",
)


HEAD = """# kubectl

Each command of kubectl 1.33 was run against a Knarr cluster as its row says, and did what it does against upstream's. The rows are
`tests/e2e/kubectl_commands.py`; `tests/e2e/test_kubectl_commands.py` runs them, the common ones also with each kubectl from 1.27 on that the machine has.
`$NS` is a namespace with the Deployment `web` and the pod `box`, `$NODE` the node, `$TMP` a directory.

"""


def document() -> str:
    """The text of ``docs/kubectl.md``."""
    rows = ["| command | works | what was run | |", "|---|---|---|---|"]
    for case in CASES:
        lines = [line.strip() for line in case.script.splitlines()]
        shown = "; ".join(line for line in lines if "kubectl" in line).replace("|", "\\|")
        rows.append(f"| `{case.command}` | yes | `{shown}` | {case.note} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(__file__).resolve().parents[2].joinpath("docs", "kubectl.md").write_text(document())
