//! Which of the agent's places this process is in.

use std::os::fd::RawFd;
use std::path::PathBuf;

use agent_api::version::build_line;

/// Where an agent works. One program, one protocol; what only makes sense in one place refuses in the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On the host, for a pod made of namespaces.
    Host,
    /// In a guest, as PID 1.
    Guest,
}

impl Mode {
    /// As the protocol names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Guest => "guest",
        }
    }
}

/// What this process was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Supervise a pod on the host.
    Host(HostOptions),
    /// Be PID 1 of a guest, first thing: make a root that containers can leave.
    FirstBoot,
    /// Be PID 1 of a guest, from there on.
    Guest,
    /// Become a process of a container.
    Stage1,
    /// Say the version.
    Version,
}

/// What an agent on the host is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostOptions {
    pub(crate) socket: ListenAt,
    /// A descriptor to be locked for as long as we live.
    pub(crate) lock: Option<RawFd>,
}

/// Where an agent on the host listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAt {
    /// A path to be made.
    Path(PathBuf),
    /// A listening socket that we were given.
    Fd(RawFd),
}

/// What the kernel executes first of an initial RAM disk.
const INIT: &str = "/init";

/// How to call us.
pub(crate) const USAGE: &str =
    "usage: bulkhead-agent host (--socket PATH | --socket-fd N) [--lock-fd N]";

/// A command line that says nothing we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("unknown argument {0:?}")]
    Unknown(String),
    #[error("{0} needs a value")]
    NoValue(String),
    #[error("{0} needs a number of an open descriptor above 2")]
    NoDescriptor(String),
    #[error("no socket to listen on")]
    NoSocket,
    #[error("nothing to do")]
    Nothing,
}

impl Role {
    /// Reads the command line, of which the first word is the program's name.
    ///
    /// A guest's kernel starts us as PID 1 by the name of `/init`. Neither alone will do: a container
    /// may execute us as its PID 1 by way of /proc/self/exe, and gets nothing out of it.
    pub(crate) fn parse(
        args: impl IntoIterator<Item = String>,
        is_pid_one: bool,
    ) -> Result<Self, UsageError> {
        let mut args = args.into_iter();
        let name = args.next();
        let is_init = is_pid_one && name.as_deref() == Some(INIT);
        match args.next().as_deref() {
            Some("host") => parse_host(args).map(Self::Host),
            Some("stage-1" | "pause") => Ok(Self::Stage1),
            Some("--version") => Ok(Self::Version),
            Some("guest") if is_init => Ok(Self::Guest),
            // The kernel may pass on words of its command line.
            _ if is_init => Ok(Self::FirstBoot),
            Some(other) => Err(UsageError::Unknown(other.to_owned())),
            None => Err(UsageError::Nothing),
        }
    }
}

fn parse_host(mut args: impl Iterator<Item = String>) -> Result<HostOptions, UsageError> {
    let (mut socket, mut lock) = (None, None);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| UsageError::NoValue(arg.clone()));
        match arg.as_str() {
            "--socket" => socket = Some(ListenAt::Path(value?.into())),
            "--socket-fd" => socket = Some(ListenAt::Fd(descriptor(&arg, &value?)?)),
            "--lock-fd" => lock = Some(descriptor(&arg, &value?)?),
            _ => return Err(UsageError::Unknown(arg)),
        }
    }
    Ok(HostOptions {
        socket: socket.ok_or(UsageError::NoSocket)?,
        lock,
    })
}

fn descriptor(arg: &str, value: &str) -> Result<RawFd, UsageError> {
    match value.parse() {
        Ok(number @ 3..) => Ok(number),
        _ => Err(UsageError::NoDescriptor(arg.to_owned())),
    }
}

/// Our version, for people.
pub(crate) fn version() -> String {
    build_line(env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, is_pid_one: bool) -> Result<Role, UsageError> {
        let name = if is_pid_one { INIT } else { "bulkhead-agent" };
        let words = std::iter::once(name).chain(line.split_whitespace());
        Role::parse(words.map(ToOwned::to_owned), is_pid_one)
    }

    #[test]
    fn an_agent_on_the_host_listens_on_a_path_or_on_a_socket_it_was_given() {
        let path = HostOptions {
            socket: ListenAt::Path("/x.sock".into()),
            lock: None,
        };
        assert_eq!(parse("host --socket /x.sock", false), Ok(Role::Host(path)));
        let given = HostOptions {
            socket: ListenAt::Fd(3),
            lock: Some(4),
        };
        assert_eq!(
            parse("host --socket-fd 3 --lock-fd 4", false),
            Ok(Role::Host(given))
        );
    }

    #[track_caller]
    fn check_refused(line: &str, expected: &str) {
        assert_eq!(parse(line, false).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        check_refused("", "nothing to do");
        check_refused("guest", "unknown argument \"guest\"");
        check_refused("host", "no socket to listen on");
        check_refused("host --socket", "--socket needs a value");
        check_refused(
            "host --socket-fd 1",
            "--socket-fd needs a number of an open descriptor above 2",
        );
        check_refused("host --sockets x", "unknown argument \"--sockets\"");
    }

    #[test]
    fn a_container_that_executes_us_as_its_pid_1_gets_nothing_out_of_it() {
        let words = ["/proc/self/exe", "guest"].map(ToOwned::to_owned);
        assert_eq!(
            Role::parse(words, true),
            Err(UsageError::Unknown("guest".into()))
        );
        assert_eq!(
            parse("guest", false),
            Err(UsageError::Unknown("guest".into()))
        );
    }

    #[test]
    fn pid_one_is_a_guest_whatever_the_kernel_passes_on() {
        assert_eq!(parse("", true), Ok(Role::FirstBoot));
        assert_eq!(parse("splash", true), Ok(Role::FirstBoot));
        assert_eq!(parse("guest", true), Ok(Role::Guest));
    }
}
