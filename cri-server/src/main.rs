//! The daemon that the kubelet talks to.

fn main() {}
