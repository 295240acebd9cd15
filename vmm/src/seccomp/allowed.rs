//! The lists of system calls, by what needs them.

use libc::*;

/// Memory, locks, signals, time, and the end.
pub(super) const EVERYBODY: &[c_long] = &[
    SYS_read,
    SYS_write,
    SYS_close,
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_futex,
    SYS_sched_yield,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigaction,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_getrandom,
    SYS_getpid,
    SYS_gettid,
    SYS_tgkill,
    SYS_exit,
    SYS_exit_group,
];

/// Calls that map memory, which may not make it executable.
pub(super) const MAPPING: [c_long; 2] = [SYS_mmap, SYS_mprotect];

/// Devices are activated and reset by the vCPU that asks, which may take telling the process behind one,
/// and the console is written by it.
pub(super) const VCPU: &[c_long] = &[
    SYS_pread64,
    SYS_pwrite64,
    SYS_ftruncate,
    SYS_epoll_ctl,
    SYS_shutdown,
    SYS_timerfd_settime,
    SYS_sendmsg,
    SYS_recvmsg,
];
pub(super) const VCPU_IOCTLS: &[u64] = &[
    KVM_RUN,
    KVM_IOEVENTFD,
    KVM_IRQFD,
    KVM_SIGNAL_MSI,
    TUNSETOFFLOAD,
    TUNSETQUEUE,
    VHOST_SET_FEATURES,
    VHOST_SET_MEM_TABLE,
    VHOST_SET_VRING_NUM,
    VHOST_SET_VRING_ADDR,
    VHOST_SET_VRING_BASE,
    VHOST_SET_VRING_KICK,
    VHOST_SET_VRING_CALL,
    VHOST_SET_VRING_ERR,
    VHOST_NET_SET_BACKEND,
];

/// Disks, frames, streams and logs. How many queues a driver uses it says in one.
pub(super) const IO: &[c_long] = &[
    SYS_epoll_wait,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_epoll_ctl,
    SYS_accept4,
    SYS_recvfrom,
    SYS_sendto,
    SYS_shutdown,
    SYS_timerfd_settime,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_preadv,
    SYS_preadv2,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_pwritev2,
    SYS_fsync,
    SYS_fdatasync,
    SYS_fallocate,
    SYS_fstat,
];
pub(super) const IO_IOCTLS: &[u64] = &[
    KVM_SIGNAL_MSI,
    KVM_SET_GSI_ROUTING,
    KVM_IRQFD,
    TUNSETQUEUE,
    VHOST_NET_SET_BACKEND,
];

/// The control socket, and making a machine and its threads.
pub(super) const CONTROL: &[c_long] = &[
    SYS_epoll_create1,
    SYS_eventfd2,
    SYS_memfd_create,
    SYS_timerfd_create,
    SYS_fcntl,
    SYS_fstat,
    SYS_statx,
    SYS_lseek,
    SYS_ftruncate,
    SYS_clone,
    SYS_clone3,
    SYS_rseq,
    SYS_set_robust_list,
    SYS_sched_getaffinity,
    SYS_prctl,
    SYS_seccomp,
];
pub(super) const CONTROL_IOCTLS: &[u64] = &[
    KVM_GET_API_VERSION,
    KVM_CREATE_VM,
    KVM_CHECK_EXTENSION,
    KVM_GET_VCPU_MMAP_SIZE,
    KVM_GET_SUPPORTED_CPUID,
    KVM_CREATE_VCPU,
    KVM_SET_USER_MEMORY_REGION,
    KVM_SET_TSS_ADDR,
    KVM_SET_IDENTITY_MAP_ADDR,
    KVM_CREATE_IRQCHIP,
    KVM_ENABLE_CAP,
    KVM_SET_REGS,
    KVM_GET_SREGS,
    KVM_SET_SREGS,
    KVM_SET_MSRS,
    KVM_SET_FPU,
    KVM_SET_CPUID2,
    KVM_PRE_FAULT_MEMORY,
    FIONBIO,
    TUNGETIFF,
    TUNSETVNETHDRSZ,
    VHOST_GET_FEATURES,
    VHOST_SET_OWNER,
];

/// `linux/if_tun.h`.
const TUNSETOFFLOAD: u64 = 0x4004_54d0;
const TUNGETIFF: u64 = 0x8004_54d2;
const TUNSETVNETHDRSZ: u64 = 0x4004_54d8;
const TUNSETQUEUE: u64 = 0x4004_54d9;

const NONE: u64 = 0;
const WRITE: u64 = 1;
const READ: u64 = 2;

/// The number of an ioctl of KVM's, as `linux/ioctl.h` makes it.
const fn kvm(direction: u64, number: u64, size: u64) -> u64 {
    direction << 30 | size << 16 | 0xae << 8 | number
}

/// The same of vhost's.
const fn vhost(direction: u64, number: u64, size: u64) -> u64 {
    direction << 30 | size << 16 | 0xaf << 8 | number
}

const KVM_GET_API_VERSION: u64 = kvm(NONE, 0x00, 0);
const KVM_CREATE_VM: u64 = kvm(NONE, 0x01, 0);
const KVM_CHECK_EXTENSION: u64 = kvm(NONE, 0x03, 0);
const KVM_GET_VCPU_MMAP_SIZE: u64 = kvm(NONE, 0x04, 0);
const KVM_GET_SUPPORTED_CPUID: u64 = kvm(READ | WRITE, 0x05, 8);
const KVM_CREATE_VCPU: u64 = kvm(NONE, 0x41, 0);
const KVM_SET_USER_MEMORY_REGION: u64 = kvm(WRITE, 0x46, 32);
const KVM_SET_TSS_ADDR: u64 = kvm(NONE, 0x47, 0);
const KVM_SET_IDENTITY_MAP_ADDR: u64 = kvm(WRITE, 0x48, 8);
const KVM_CREATE_IRQCHIP: u64 = kvm(NONE, 0x60, 0);
const KVM_IRQFD: u64 = kvm(WRITE, 0x76, 32);
const KVM_SET_GSI_ROUTING: u64 = kvm(WRITE, 0x6a, 8);
const KVM_IOEVENTFD: u64 = kvm(WRITE, 0x79, 64);
const KVM_RUN: u64 = kvm(NONE, 0x80, 0);
const KVM_PRE_FAULT_MEMORY: u64 = kvm(READ | WRITE, 0xd5, 64);
const KVM_SET_REGS: u64 = kvm(WRITE, 0x82, 144);
const KVM_GET_SREGS: u64 = kvm(READ, 0x83, 312);
const KVM_SET_SREGS: u64 = kvm(WRITE, 0x84, 312);
const KVM_SET_MSRS: u64 = kvm(WRITE, 0x89, 8);
const KVM_SET_FPU: u64 = kvm(WRITE, 0x8d, 416);
const KVM_SET_CPUID2: u64 = kvm(WRITE, 0x90, 8);
const KVM_ENABLE_CAP: u64 = kvm(WRITE, 0xa3, 104);
const KVM_SIGNAL_MSI: u64 = kvm(WRITE, 0xa5, 32);

/// `linux/vhost.h`.
const VHOST_GET_FEATURES: u64 = vhost(READ, 0x00, 8);
const VHOST_SET_FEATURES: u64 = vhost(WRITE, 0x00, 8);
const VHOST_SET_OWNER: u64 = vhost(NONE, 0x01, 0);
const VHOST_SET_MEM_TABLE: u64 = vhost(WRITE, 0x03, 8);
const VHOST_SET_VRING_NUM: u64 = vhost(WRITE, 0x10, 8);
const VHOST_SET_VRING_ADDR: u64 = vhost(WRITE, 0x11, 40);
const VHOST_SET_VRING_BASE: u64 = vhost(WRITE, 0x12, 8);
const VHOST_SET_VRING_KICK: u64 = vhost(WRITE, 0x20, 8);
const VHOST_SET_VRING_CALL: u64 = vhost(WRITE, 0x21, 8);
const VHOST_SET_VRING_ERR: u64 = vhost(WRITE, 0x22, 8);
const VHOST_NET_SET_BACKEND: u64 = vhost(WRITE, 0x30, 8);
