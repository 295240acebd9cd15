//! A guest against its source of random numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm_devices::virtio::Rng;
use vmm_devices_fuzz::{Attack, Machine};

fuzz_target!(|attack: Attack<'_>| Machine::new(Rng::new()).suffer(&attack));
