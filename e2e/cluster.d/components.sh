# The components: how each is started, when it counts as started, and how it is killed.
# shellcheck shell=bash disable=SC2154

is_component() { [[ " ${components[*]} " == *" $1 "* ]]; }
kubectl() { "$kubernetes/kubectl" --kubeconfig "$state/admin.kubeconfig" --request-timeout=10s "$@"; }
ctr() { command ctr -a "$run/containerd.sock" -n k8s.io "$@"; }
log_of() { echo "$state/log/$1.log"; }

# Sets `command_line`, with the program's path first.
set_command_line() { # COMPONENT
    case $1 in
    etcd)
        command_line=("$(command -v etcd)" "--data-dir=$state/etcd" --listen-client-urls="$etcd_url" --advertise-client-urls="$etcd_url"
            --listen-peer-urls=http://127.0.0.1:12380 --initial-advertise-peer-urls=http://127.0.0.1:12380
            --initial-cluster=default=http://127.0.0.1:12380 --unsafe-no-fsync --logger=zap --log-level=warn)
        ;;
    apiserver)
        command_line=("$kubernetes/kube-apiserver" --bind-address="$host" --advertise-address="$host" --secure-port=16443
            --etcd-servers="$etcd_url" --service-cluster-ip-range="$service_range" --authorization-mode=Node,RBAC
            --enable-admission-plugins=NodeRestriction --token-auth-file="$state/tokens.csv"
            --tls-cert-file="$state/pki/apiserver.crt" --tls-private-key-file="$state/pki/apiserver.key"
            --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$state/pki/sa.pub"
            --service-account-signing-key-file="$state/pki/sa.key" --kubelet-preferred-address-types=InternalIP
            --kubelet-certificate-authority="$state/pki/ca.crt" --kubelet-client-certificate="$state/pki/kubelet-client.crt"
            --kubelet-client-key="$state/pki/kubelet-client.key" --allow-privileged=true)
        ;;
    controller-manager)
        command_line=("$kubernetes/kube-controller-manager" --kubeconfig="$state/controller-manager.kubeconfig"
            --service-account-private-key-file="$state/pki/sa.key" --root-ca-file="$state/pki/ca.crt"
            --use-service-account-credentials=true --leader-elect=false --secure-port=0
            --flex-volume-plugin-dir="$state/kubelet/plugins")
        ;;
    scheduler) command_line=("$kubernetes/kube-scheduler" --config="$state/scheduler.yaml" --secure-port=0) ;;
    containerd) command_line=("$(command -v containerd)" --config "$state/containerd.toml" --log-level=warn) ;;
    kubelet)
        command_line=("$kubernetes/kubelet" --config="$state/kubelet.yaml" --kubeconfig="$state/kubelet.kubeconfig"
            --root-dir="$state/kubelet" --node-ip="$host" --hostname-override="$node")
        ;;
    dns) command_line=("$coredns/coredns" -conf "$state/Corefile") ;;
    kube-proxy) command_line=("$kubernetes/kube-proxy" --config="$state/kube-proxy.yaml") ;;
    esac
}

answers() { # COMPONENT
    case $1 in
    etcd) ETCDCTL_API=3 curl -fs -m 5 "$etcd_url/health" ;;
    apiserver) kubectl get --raw /readyz ;;
    containerd) ctr version && ctr plugins ls | grep -E 'grpc.v1 +cri .*ok' ;;
    kubelet) curl -fs -m 5 http://127.0.0.1:10248/healthz ;;
    kube-proxy) curl -fs -m 5 http://127.0.0.1:10249/healthz ;;
    dns) [ -n "$(ss -Hltn src "$host:53")" ] ;;
    # Neither has a port; wait_usable sees their work.
    controller-manager | scheduler) pid_of "$1" ;;
    esac >/dev/null 2>&1
}

# Every process of this cluster's component, also one that has lost its pid file.
pids_of() { # COMPONENT
    set_command_line "$1"
    pgrep -f "^${command_line[0]} .*$state/"
}

# Prints the pid if it is alive. The command line is compared as well: after a crash or a reboot the number may belong
# to someone else.
pid_of() { # COMPONENT
    local pid
    pid=$(cat "$state/pid/$1" 2>/dev/null) && [ -n "$pid" ] && pids_of "$1" | grep -xF "$pid"
}

start() { # COMPONENT
    if ! is_current "$1"; then
        end_component "$1"
        say "starting $1"
        [ ! -e "$(log_of "$1")" ] || mv "$(log_of "$1")" "$(log_of "$1").previous"
        set_command_line "$1"
        launch "$state/pid/$1" "$(log_of "$1")" "${command_line[@]}"
    fi
    wait_ready "$1"
}

# Whether it runs, and with the options and the file that it would be started with.
is_current() { # COMPONENT
    local pid file
    pid=$(pid_of "$1") || return 1
    set_command_line "$1"
    cmp -s "/proc/$pid/cmdline" <(printf '%s\0' "${command_line[@]}") || return 1
    for file in "${command_line[@]}"; do
        file=${file#--config=}
        [[ $file != "$state"/* ]] || [ ! "$file" -nt "$state/pid/$1" ] || return 1
    done
}

end_component() { # COMPONENT [SIGNAL]
    local pids
    pids=$(pids_of "$1") || return 0
    say "ending $1"
    # shellcheck disable=SC2086 # several numbers
    kill -s "${2:-KILL}" $pids 2>/dev/null || true
    # shellcheck disable=SC2086
    wait_gone $pids
}

wait_ready() { # COMPONENT
    local deadline=$((SECONDS + 120))
    until answers "$1"; do
        # By its number alone: the program may not be loaded yet.
        kill -0 "$(cat "$state/pid/$1")" 2>/dev/null && ((SECONDS < deadline)) || not_started "$1" "$1 does not answer"
        sleep 0.1
    done
}

not_started() { # COMPONENT MESSAGE
    tail -n 20 "$(log_of "$1")" >&2
    die "$2; the end of $(log_of "$1") is above"
}

# The node is ready by a report of this kubelet and not of one before it, and can take pods.
wait_usable() {
    local deadline=$((SECONDS + 120)) seen
    until seen=$(kubectl get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.spec.taints[*].key}' 2>&1) &&
        [ "${seen% }" = True ] && renewed_since_start && kubectl get serviceaccount -n default default >/dev/null 2>&1; do
        # Left behind by a test that was interrupted while it drained the node.
        [[ $seen != *unschedulable* ]] || kubectl uncordon "$node" >&2
        ((SECONDS < deadline)) || not_started kubelet "the node is not usable: $seen"
        sleep 0.2
    done
}

renewed_since_start() {
    local renewed
    renewed=$(kubectl get lease -n kube-node-lease "$node" -o 'jsonpath={.spec.renewTime}' 2>/dev/null) &&
        [ "$(date -d "$renewed" +%s)" -ge "$(stat -c %Y "$state/pid/kubelet")" ]
}

crash() { # COMPONENT
    pid_of "$1" >/dev/null || die "$1 is not running"
    end_component "$1"
}

show_status() {
    local component pid memory=0 kibibytes
    find_programs || die "nothing is built: run e2e/cluster up"
    for component in "${components[@]}"; do
        if pid=$(pid_of "$component"); then
            kibibytes=$(awk '$1 == "VmRSS:" { print $2 }' "/proc/$pid/status")
            memory=$((memory + kibibytes))
            printf '%-20s pid %-8s %5d MiB\n' "$component" "$pid" $((kibibytes / 1024))
        else
            printf '%-20s not running\n' "$component"
        fi
    done
    printf '%-20s %18d MiB\n' "together" $((memory / 1024))
    [ -z "$(pid_of apiserver)" ] || kubectl get nodes,pods -A -o wide
}
