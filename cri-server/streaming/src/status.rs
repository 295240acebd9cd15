//! How a command ended, in the words that clients parse on the error stream.

use serde_json::json;

use crate::executor::{Error, chain};

/// How clients are told the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusForm {
    /// A `metav1.Status` in JSON, always: v4 and v5.
    Json,
    /// A text, only if there is something to complain about: what came before.
    Text,
}

impl StatusForm {
    /// What is written on the error stream; nothing if it is empty.
    pub(crate) fn render(self, ended: &Result<u8, Error>) -> String {
        match (self, ended) {
            (Self::Json, Ok(0)) => json!({"metadata": {}, "status": "Success"}).to_string(),
            (Self::Json, Ok(code)) => json!({
                "metadata": {},
                "status": "Failure",
                "message": complaint(*code),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            })
            .to_string(),
            (Self::Json, Err(error)) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {}", chain(error.as_ref())),
                "reason": "InternalError",
                "details": {"causes": [{"message": chain(error.as_ref())}]},
                "code": 500,
            })
            .to_string(),
            (Self::Text, Ok(0)) => String::new(),
            (Self::Text, Ok(code)) => complaint(*code),
            (Self::Text, Err(error)) => chain(error.as_ref()),
        }
    }
}

fn complaint(code: u8) -> String {
    format!("command terminated with non-zero exit code: exit status {code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_told_in_json_and_not_at_all_in_text() {
        assert_eq!(
            StatusForm::Json.render(&Ok(0)),
            r#"{"metadata":{},"status":"Success"}"#
        );
        assert_eq!(StatusForm::Text.render(&Ok(0)), "");
    }

    #[test]
    fn an_exit_code_is_a_cause() {
        let status: serde_json::Value =
            serde_json::from_str(&StatusForm::Json.render(&Ok(137))).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["reason"], "ExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "137");
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error: Error = "no such program".into();
        let status = StatusForm::Json.render(&Err(error));
        assert!(status.contains("Internal error occurred: no such program"));
        assert_eq!(StatusForm::Text.render(&Err("gone".into())), "gone");
    }
}
