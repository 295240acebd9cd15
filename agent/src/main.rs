//! PID 1 of a guest, supervisor of a pod on the host.

fn main() {}
