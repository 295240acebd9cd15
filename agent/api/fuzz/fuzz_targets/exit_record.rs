//! Exit records, which may be torn or older than we are.
#![no_main]

use agent_api::exit_record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(exit) = exit_record::decode(text) {
        let again = exit_record::decode(&exit_record::encode(&exit));
        assert_eq!(again, Some(exit));
    }
});
