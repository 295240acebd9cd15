//! Our errors as gRPC statuses: the only file that names [`tonic::Code`].

use tonic::{Code, Status};

use crate::error::{Error, Kind, chain};

/// The status that a client sees: the code by kind, the message the chain of causes.
pub(crate) fn status(error: &Error) -> Status {
    match (error, error.kind()) {
        // The kubelet tells users that a registry is down by this word, which it looks for only in
        // errors of unknown code.
        (Error::Pull(_), Kind::Unavailable | Kind::TimedOut) => Status::new(
            Code::Unknown,
            format!("RegistryUnavailable: {}", chain(error)),
        ),
        (_, kind) => Status::new(code(kind), chain(error)),
    }
}

/// The code that a client sees.
pub(crate) fn code_of<A>(answer: &Result<A, Status>) -> Code {
    answer.as_ref().err().map_or(Code::Ok, Status::code)
}

/// For calls that CRI knows and this server does not serve; the kubelet falls back on other ways.
pub(crate) fn unimplemented(rpc: &str) -> Status {
    Status::new(Code::Unimplemented, format!("{rpc} is not implemented"))
}

/// The kubelet branches on few codes: NotFound of status calls, DeadlineExceeded of ExecSync.
fn code(kind: Kind) -> Code {
    match kind {
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::WrongState => Code::FailedPrecondition,
        Kind::Invalid => Code::InvalidArgument,
        // Not Unimplemented: to clients that would mean that the call itself is unknown.
        Kind::Unsupported => Code::InvalidArgument,
        Kind::NoSpace => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::TimedOut => Code::DeadlineExceeded,
        Kind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_and_a_missing_thing_have_the_codes_that_the_kubelet_looks_for() {
        let code = |kind| status(&Error::new(kind, "x")).code();
        assert_eq!(code(Kind::TimedOut), Code::DeadlineExceeded);
        assert_eq!(code(Kind::NotFound), Code::NotFound);
    }
}
