# Installing: Debian's packages, and the programs that are compiled from their Go modules.
# shellcheck shell=bash disable=SC2154

modules=$here/cluster.d
kubernetes_version=$(awk '$1 == "require" && $2 == "k8s.io/kubernetes" { print $3 }' "$modules/kubernetes/go.mod")
coredns_version=$(awk '$1 == "require" && $2 == "github.com/coredns/coredns" { print $3 }' "$modules/coredns/go.mod")
helm_version=v3.22.0
kubernetes=$cache/kubernetes-$kubernetes_version
coredns=$cache/coredns-$coredns_version
helm=$cache/helm-$helm_version

find_programs() { [ -d "$kubernetes" ] && [ -d "$coredns" ] && [ -d "$helm" ]; }

install_all() {
    install_packages
    build "$kubernetes" "about twelve minutes, once" build_kubernetes
    build "$coredns" "about two minutes, once" build_coredns
    build "$helm" "about two minutes, once" build_helm
}

install_packages() {
    local policy=/usr/sbin/policy-rc.d
    # Keeps Debian's packages from starting an etcd and a containerd of their own (101: not allowed).
    [ -e "$policy" ] || { printf '#!/bin/sh\n# sluice\nexit 101\n' >"$policy" && chmod +x "$policy"; }
    apt_install etcd-server containerd runc containernetworking-plugins nftables conntrack iproute2 buildah \
        openssl curl procps gcc libc6-dev ca-certificates
    ! grep -q '^# sluice$' "$policy" || rm "$policy"
}

# Built under another name, so that a killed run leaves nothing that looks complete.
build() { # FOLDER HOW_LONG FUNCTION
    local folder=$1 name=${1##*/}
    [ ! -d "$folder" ] || return 0
    command -v go >/dev/null || die "Go is needed to build $name: install it from https://go.dev/dl (Debian's is too old)"
    exec 8>"$cache/lock-$name" # one cache serves every state
    flock 8
    if [ ! -d "$folder" ]; then
        say "building $name ($2); the log is $cache/$name.log"
        rm -rf "$cache/.$name-building"
        mkdir "$cache/.$name-building"
        "$3" "$cache/.$name-building" >"$cache/$name.log" 2>&1 ||
            { tail -n 20 "$cache/$name.log" >&2; die "$name did not build: $cache/$name.log"; }
        mv "$cache/.$name-building" "$folder"
    fi
    exec 8>&-
}

build_kubernetes() { # FOLDER
    local version=k8s.io/component-base/version
    local major_minor=${kubernetes_version#v}
    (
        cd "$modules/kubernetes" &&
            CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -o "$1/" \
                -ldflags "-s -w -X $version.gitVersion=$kubernetes_version -X $version.gitMajor=${major_minor%%.*} \
                    -X $version.gitMinor=$(cut -d . -f 2 <<<"$major_minor")" \
                k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}
    )
}

build_coredns() { # FOLDER
    (cd "$modules/coredns" && CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -ldflags '-s -w' -o "$1/coredns" .)
}

build_helm() { # FOLDER
    CGO_ENABLED=0 GOBIN=$1 nice go install -trimpath -ldflags '-s -w' "helm.sh/helm/v3/cmd/helm@$helm_version"
}
