# Writing what the components read: keys, tokens, kubeconfigs, their own configuration; and the bridge.
# shellcheck shell=bash disable=SC2154

write_files() {
    mkdir -p "$state"/{pki,cni,log,pid,kubelet,pod-logs}
    make_keys
    write_tokens
    # No search domain of the machine's gets into pods.
    echo "nameserver $host" >"$state/resolv.conf"
    fill_in containerd.toml "$state/containerd.toml"
    fill_in Corefile "$state/Corefile"
    fill_in network.conflist "$state/cni/10-sluice.conflist"
    local name
    for name in kubelet kube-proxy scheduler; do fill_in "$name.yaml" "$state/$name.yaml"; done
    cp /proc/sys/kernel/random/boot_id "$state/boot"
}

# Written only when it changed, and at once: some components watch theirs.
fill_in() { # TEMPLATE FILE
    sed -e "s|@STATE@|$state|g; s|@RUN@|$run|g; s|@HOST@|$host|g; s|@NODE@|$node|g; s|@BRIDGE@|$bridge|g" \
        -e "s|@POD_RANGE@|$pod_range|g; s|@PAUSE_IMAGE@|$pause_image|g" "$modules/$1" >"$2.new"
    if cmp -s "$2.new" "$2"; then rm "$2.new"; else mv "$2.new" "$2"; fi
}

# One authority for the cluster; whoever holds its key is the cluster's administrator.
make_keys() {
    local pki=$state/pki
    [ ! -e "$pki/complete" ] || return 0
    chmod 700 "$pki"
    (
        umask 077
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=sluice-cluster -keyout "$pki/ca.key" -out "$pki/ca.crt"
        make_certificate apiserver /CN=kube-apiserver serverAuth \
            "IP:$host,IP:$first_service,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
        make_certificate kubelet "/CN=system:node:$node/O=system:nodes" serverAuth "IP:$host,DNS:$node"
        # With this the API server asks the kubelet for logs and exec.
        make_certificate kubelet-client /CN=kube-apiserver/O=system:masters clientAuth DNS:kube-apiserver
        openssl genrsa -out "$pki/sa.key" 2048
        openssl rsa -in "$pki/sa.key" -pubout -out "$pki/sa.pub"
    ) 2>>"$state/log/openssl.log" || { tail -n 15 "$state/log/openssl.log" >&2; die "openssl failed"; }
    touch "$pki/complete"
}

make_certificate() { # NAME SUBJECT USAGE NAMES
    local pki=$state/pki
    openssl req -new -newkey rsa:2048 -nodes -subj "$2" -keyout "$pki/$1.key" -out "$pki/$1.csr" &&
        openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 \
            -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=%s\n' "$4" "$3") -out "$pki/$1.crt"
}

# Each component has a user of its own with the rights that Kubernetes gives that name.
write_tokens() {
    [ ! -e "$state/tokens.csv" ] || return 0
    (
        umask 077
        : >"$state/tokens.new"
        add_user admin sluice-admin system:masters
        add_user controller-manager system:kube-controller-manager
        add_user scheduler system:kube-scheduler
        add_user kubelet "system:node:$node" system:nodes
        add_user kube-proxy system:kube-proxy
        mv "$state/tokens.new" "$state/tokens.csv"
    )
}

add_user() { # NAME USER [GROUP]
    local token
    token=$(openssl rand -hex 24)
    echo "$token,$2,$2${3:+,\"$3\"}" >>"$state/tokens.new"
    cat >"$state/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: sluice
contexts: [{name: sluice, context: {cluster: sluice, user: $1}}]
clusters: [{name: sluice, cluster: {server: "$api", certificate-authority-data: $(base64 -w 0 "$state/pki/ca.crt")}}]
users: [{name: $1, user: {token: $token}}]
YAML
}

make_bridge() {
    ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" type bridge
    # An address of its own: otherwise it takes that of the lowest pod and changes as pods come and go.
    ip link set "$bridge" address 0a:58:0a:f4:00:01 up
    ip address replace "$host/24" dev "$bridge"
}
