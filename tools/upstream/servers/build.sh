#!/bin/sh
# Builds upstream's own programs, for measuring beside them and for its conformance tests: build.sh DIRECTORY [VERSION]
# Needs Go; what it takes from upstream it takes as Go modules. A quarter of an hour on two cores.
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
version=${2:-1.36.3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOFLAGS='-buildvcs=false -mod=mod'
go mod init servers >/dev/null 2>&1
source=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')
# The main module takes its parts from its own tree; from outside they are modules of the same minor.
{
    sed -e 's/^module .*/module servers/' -e '/=> \.\/staging/d' "$source/go.mod"
    printf '\nrequire k8s.io/kubernetes v%s\nreplace (\n' "$version"
    sed -n "s/^[[:space:]]*\(k8s\.io[^ ]*\) => \.\/staging.*/    \1 => \1 v0.${version#1.}/p" "$source/go.mod"
    printf ')\n'
} > go.mod
minor=${version#1.}
stamp="-s -w -X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet; do
    go build -ldflags "$stamp" -o "$out/" "k8s.io/kubernetes/cmd/$program"
done
for image in agnhost nonewprivs; do
    CGO_ENABLED=0 go build -ldflags '-s -w' -o "$out/$image" "k8s.io/kubernetes/test/images/$image"
done
CGO_ENABLED=0 go build -ldflags '-s -w' -o "$out/sample-apiserver" k8s.io/sample-apiserver
go build -o "$out/ginkgo" github.com/onsi/ginkgo/v2/ginkgo
go test -c -ldflags "$stamp" -o "$out/e2e.test" k8s.io/kubernetes/test/e2e
echo "built in $out; the modules are in $source"
