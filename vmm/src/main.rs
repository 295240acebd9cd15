//! One process, one machine.

fn main() {}
