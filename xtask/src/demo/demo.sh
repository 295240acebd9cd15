# The story of the demo, in the node. Each command is shown before its output.
set -eu
cd /root
image=registry.k8s.io/e2e-test-images/busybox:1.29-2

say() { printf '\n# %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@" 2>&1 | grep -v 'cgroup_parent is not set' || true; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
quiet() { "$@" 2> /tmp/stderr || { cat /tmp/stderr >&2; return 1; }; }

mkdir -p /etc/bulkhead
cat > /etc/bulkhead/config.toml <<TOML
# A third handler: the same machine with the kernel of the Debian release before.
[handlers.kvm-legacy]
like = "kvm"
kernel = "/opt/bulkhead/guest/6.1/vmlinux"
initramfs = "/opt/bulkhead/guest/6.1/initramfs.cpio"
TOML

say "A Kubernetes node: kernel $(uname -r), cgroup v2. The runtime starts."
setsid --fork bulkhead serve > /var/log/bulkhead.log 2>&1 < /dev/null
for _ in $(seq 100); do [ -S /run/bulkhead/bulkhead.sock ] && break; sleep 0.1; done
trap 'code=$?; [ $code = 0 ] || tail -n 20 /var/log/bulkhead.log >&2; exit $code' EXIT
show crictl version

say "An image, pulled once from a registry, for every kind of pod."
show crictl pull $image
show crictl images

for handler in namespaced kvm kvm-legacy; do
    say "A pod under handler $handler, from that image."
    mkdir -p /var/log/pods/$handler
    cat > $handler-pod.json <<JSON
{"metadata": {"name": "demo-$handler", "namespace": "default", "uid": "$handler", "attempt": 0},
 "hostname": "demo-$handler", "log_directory": "/var/log/pods/$handler", "linux": {}}
JSON
    cat > $handler-container.json <<JSON
{"metadata": {"name": "main"}, "image": {"image": "$image"}, "log_path": "main.log", "linux": {},
 "command": ["sh", "-c", "echo hello from \$(hostname); trap 'echo asked to stop; exit 7' TERM; while true; do sleep 0.2; done"]}
JSON
    start=$(now_ms)
    pod=$(quiet crictl runp --runtime $handler $handler-pod.json)
    container=$(quiet crictl create $pod $handler-container.json $handler-pod.json)
    quiet crictl start $container > /dev/null
    took=$(($(now_ms) - start))
    echo $pod > $handler.pod; echo $container > $handler.container
    show crictl exec -s $container uname -r
    kernel=$(quiet crictl exec -s $container uname -r | tr -d '\n')
    cgroup=$(find /sys/fs/cgroup -type d -name "*$pod*" | head -n 1)
    memory=$(($(cat "$cgroup/memory.current") / 1048576))
    printf 'row\tdemo-%s\t%s\t%s\t%s\t%s ms\t%s MiB\n' \
        $handler $handler "$kernel" "${image##*/}" $took $memory
done

say "All at once."
show crictl pods
show crictl ps

say "Their own boot: a machine's kernel is not the node's."
for handler in namespaced kvm kvm-legacy; do
    container=$(cat $handler.container)
    printf '%-12s boot id %s\n' $handler "$(quiet crictl exec -s $container cat /proc/sys/kernel/random/boot_id | tr -d '\n')"
done
printf '%-12s boot id %s\n' "the node" "$(cat /proc/sys/kernel/random/boot_id)"
show bulkhead explain $(cat kvm.pod)

say "Asked to stop, each exits with a code of its own; their logs hold every line."
for handler in namespaced kvm kvm-legacy; do
    container=$(cat $handler.container)
    quiet crictl stop --timeout 10 $container > /dev/null
    printf '%-12s exit code %s\n' $handler "$(quiet crictl inspect -o go-template --template '{{.status.exitCode}}' $container)"
    show crictl logs $container
done

say "And gone, with nothing left of them."
for handler in namespaced kvm kvm-legacy; do
    show crictl rmp -f $(cat $handler.pod)
done
if pgrep -l '^bulkhead-'; then exit 1; fi
echo "no process of a pod is left"
