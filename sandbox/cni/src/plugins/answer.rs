//! What a plugin's exit and output mean.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Failure, excerpt};
use crate::exec::Ended;

/// An error in CNI's format. Some plugins leave out `msg`, and none of it is to be relied on.
#[derive(Deserialize)]
struct WireError {
    code: u64,
    #[serde(default)]
    msg: Option<String>,
    #[serde(default)]
    details: Option<String>,
}

/// Tells success from failure: also who ends with success and answers with an error has failed.
pub(super) fn understand(ended: &Ended) -> Result<Option<Value>, Failure> {
    let answer: Option<Value> = serde_json::from_slice(&ended.stdout).ok();
    if let Some(refused) = answer.as_ref().and_then(refusal) {
        return Err(refused);
    }
    if !ended.status.success() {
        let said = [&ended.stdout, &ended.stderr].map(|text| excerpt(text));
        return Err(Failure::Ended {
            status: ended.status,
            output: said.join(" ").trim().to_owned(),
        });
    }
    match answer {
        None if !ended.stdout.iter().all(u8::is_ascii_whitespace) => Err(Failure::Nonsense {
            expected: "JSON".into(),
            output: excerpt(&ended.stdout),
        }),
        answer => Ok(answer),
    }
}

fn refusal(answer: &Value) -> Option<Failure> {
    let error = WireError::deserialize(answer)
        .ok()
        .filter(|error| error.code != 0)?;
    let text = |text: Option<String>| excerpt(text.unwrap_or_default().as_bytes());
    Some(Failure::Refused {
        code: error.code,
        msg: text(error.msg),
        details: text(error.details),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn ended(code: i32, stdout: &[u8], stderr: &[u8]) -> Ended {
        Ended {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
        }
    }

    #[track_caller]
    fn check(code: i32, stdout: &str, stderr: &str, words: &str) {
        let failure = understand(&ended(code, stdout.as_bytes(), stderr.as_bytes()));
        assert_eq!(failure.unwrap_err().to_string(), words);
    }

    #[test]
    fn failures_are_told_in_the_plugins_words() {
        let error = r#"{"code": 11, "msg": "busy", "details": "pool\nis empty"}"#;
        check(1, error, "log", "code 11: busy (pool is empty)");
        check(0, error, "", "code 11: busy (pool is empty)");
        check(0, r#"{"code": 999}"#, "", "code 999: ");
        check(
            1,
            "",
            "no such\ndevice",
            "ended with exit status: 1 and no CNI error: no such device",
        );
        check(2, "", "", "ended with exit status: 2 and no CNI error");
        check(0, "hello", "", "answered what is not JSON: hello");
    }

    #[test]
    fn an_answer_or_silence_is_success() {
        let result = br#"{"cniVersion": "1.0.0", "ips": [], "code": 0}"#;
        assert!(understand(&ended(0, result, b"log")).unwrap().is_some());
        assert!(understand(&ended(0, b" \n", b"log")).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_output_is_understood_or_refused(code in 0..3, stdout: Vec<u8>, stderr: Vec<u8>) {
            if let Ok(answer) = understand(&ended(code, &stdout, &stderr)) {
                prop_assert_eq!(code, 0);
                answer.and_then(super::super::read_versions);
            }
        }
    }
}
