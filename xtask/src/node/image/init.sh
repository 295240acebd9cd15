#!/bin/sh
# PID 1 of the node: brings up what a Kubernetes node has, then becomes tini with sshd under it.
# When sshd ends, tini ends, and the kernel panics: a node that cannot be reached is a dead node.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mountpoint -q /dev || mount -t devtmpfs -o nosuid devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t mqueue -o nosuid,nodev,noexec mqueue /dev/mqueue
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
mount -t bpf -o nosuid,nodev,noexec,mode=700 bpf /sys/fs/bpf
mount -t tracefs -o nosuid,nodev,noexec tracefs /sys/kernel/tracing
mount -t securityfs -o nosuid,nodev,noexec securityfs /sys/kernel/security
# A kubelet's node shares its mounts, as systemd would have it.
mount --make-rshared /

# Everything of ours in a cgroup of its own, so that the root hands out all controllers.
mkdir -p /sys/fs/cgroup/init.scope /sys/fs/cgroup/system.slice
echo $$ > /sys/fs/cgroup/init.scope/cgroup.procs
sed 's/^/+/; s/ / +/g' /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control

grep -q svm /proc/cpuinfo && modprobe kvm_amd nested=1
grep -q vmx /proc/cpuinfo && modprobe kvm_intel nested=1
modprobe -a virtio_blk virtio_net vhost_net vhost_vsock tun erofs overlay loop bridge br_netfilter veth \
    macvlan macvtap ifb vxlan dummy sch_ingress sch_htb sch_tbf sch_fq_codel cls_u32 act_mirred \
    nf_tables nft_compat nft_chain_nat nf_conntrack xt_MASQUERADE xt_comment xt_conntrack \
    xt_addrtype xt_mark xt_multiport xt_nat xt_tcpudp fuse

# Guests boot in half the time if the memory that they share with a file server is in huge pages.
echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled

echo node > /proc/sys/kernel/hostname
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
echo 8192 > /proc/sys/fs/inotify/max_user_instances
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
# Nothing answers there; a node has a default route, and some software looks for it.
ip route add default via 10.0.2.2

# What the checkout has built, read-only on a disk of its own, and writable by an overlay.
mkdir -p /run/products /var/lib/products/upper /var/lib/products/work
mount -t erofs -o ro /dev/vda /run/products
mount -t overlay -o lowerdir=/run/products,upperdir=/var/lib/products/upper,workdir=/var/lib/products/work overlay /opt

mkdir -p /opt/registry
docker-registry serve /etc/docker/registry/config.yml > /var/log/docker-registry.log 2>&1 &

mkdir -p /run/sshd /run/lock
echo "node: ready" > /dev/console
exec tini -- /usr/sbin/sshd -D -e
