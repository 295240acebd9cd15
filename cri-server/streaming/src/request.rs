//! What a client may ask for with its token, as the kubelet has asked for it.

use cri_api::v1::{AttachRequest, ExecRequest, PortForwardRequest};

/// What a token stands for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Exec(ExecRequest),
    Attach(AttachRequest),
    PortForward(PortForwardRequest),
}

/// Which of the three it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exec,
    Attach,
    PortForward,
}

impl Kind {
    /// The first part of its URL's path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
        }
    }

    /// The kind and the token that a path names.
    pub(crate) fn parse(path: &str) -> Option<(Self, &str)> {
        let (kind, token) = path.strip_prefix('/')?.split_once('/')?;
        let kinds = [Self::Exec, Self::Attach, Self::PortForward];
        let kind = kinds.into_iter().find(|known| known.path() == kind)?;
        Some((kind, token))
    }
}

/// Which streams of a process the client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) terminal: bool,
}

/// A request that can't be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No id.
    #[error("there is no container id")]
    NoContainer,
    /// No id.
    #[error("there is no pod sandbox id")]
    NoSandbox,
    /// Nothing to run.
    #[error("there is no command to run")]
    NoCommand,
    /// A terminal has one output.
    #[error("a terminal has no stderr of its own: tty and stderr exclude each other")]
    TerminalWithStderr,
    /// Nothing to stream.
    #[error("one of stdin, stdout and stderr must be set")]
    NoStreams,
    /// A TCP port has 16 bits and is not 0.
    #[error("{0} is not a port")]
    BadPort(i32),
    /// Too many URLs wait for their clients; the caller may try again.
    #[error("too many streaming requests wait for their clients")]
    TooMany,
}

impl RequestError {
    /// The caller may try again; else the request is invalid.
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Self::TooMany)
    }
}

impl Request {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Exec(_) => Kind::Exec,
            Self::Attach(_) => Kind::Attach,
            Self::PortForward(_) => Kind::PortForward,
        }
    }

    /// The id of the container or sandbox, for the log.
    pub(crate) fn target(&self) -> &str {
        match self {
            Self::Exec(request) => &request.container_id,
            Self::Attach(request) => &request.container_id,
            Self::PortForward(request) => &request.pod_sandbox_id,
        }
    }

    /// The streams of the process.
    pub(crate) fn wanted(&self) -> Wanted {
        match self {
            Self::Exec(request) => Wanted {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.tty,
            },
            Self::Attach(request) => Wanted {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.tty,
            },
            Self::PortForward(_) => Wanted::default(),
        }
    }

    /// Says no while the caller still listens, rather than to the client.
    pub(crate) fn validate(&self) -> Result<(), RequestError> {
        if let Self::PortForward(request) = self {
            return validate_port_forward(request);
        }
        if self.target().is_empty() {
            return Err(RequestError::NoContainer);
        }
        if let Self::Exec(request) = self
            && request.cmd.first().is_none_or(String::is_empty)
        {
            return Err(RequestError::NoCommand);
        }
        let wanted = self.wanted();
        if wanted.terminal && wanted.stderr {
            return Err(RequestError::TerminalWithStderr);
        }
        if !(wanted.stdin || wanted.stdout || wanted.stderr) {
            return Err(RequestError::NoStreams);
        }
        Ok(())
    }
}

fn validate_port_forward(request: &PortForwardRequest) -> Result<(), RequestError> {
    if request.pod_sandbox_id.is_empty() {
        return Err(RequestError::NoSandbox);
    }
    let is_port = |port: &i32| u16::try_from(*port).is_ok_and(|port| port > 0);
    match request.port.iter().find(|port| !is_port(port)) {
        Some(port) => Err(RequestError::BadPort(*port)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut ExecRequest), expected: Result<(), RequestError>) {
        let mut request = ExecRequest {
            container_id: "c1".to_owned(),
            cmd: vec!["date".to_owned()],
            stdout: true,
            ..ExecRequest::default()
        };
        change(&mut request);
        assert_eq!(Request::Exec(request).validate(), expected);
    }

    #[test]
    fn a_request_that_can_t_be_granted_is_refused_before_it_gets_a_url() {
        check(|_| {}, Ok(()));
        check(|r| r.container_id.clear(), Err(RequestError::NoContainer));
        check(|r| r.cmd.clear(), Err(RequestError::NoCommand));
        check(|r| r.stdout = false, Err(RequestError::NoStreams));
        let with_both = |r: &mut ExecRequest| (r.tty, r.stderr) = (true, true);
        check(with_both, Err(RequestError::TerminalWithStderr));
        let forward = PortForwardRequest {
            pod_sandbox_id: "p1".to_owned(),
            port: vec![80, 65536],
        };
        let refused = Request::PortForward(forward).validate();
        assert_eq!(refused, Err(RequestError::BadPort(65536)));
    }

    #[test]
    fn a_path_names_a_kind_and_a_token() {
        assert_eq!(Kind::parse("/exec/abc"), Some((Kind::Exec, "abc")));
        assert_eq!(Kind::parse("/portforward/"), Some((Kind::PortForward, "")));
        for path in ["", "/", "/exec", "exec/abc", "/logs/abc", "//exec/abc"] {
            assert_eq!(Kind::parse(path), None, "{path}");
        }
    }
}
