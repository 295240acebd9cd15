//! What a container runs: CRI's command, arguments and environment over those of the image.

use cri_api::v1::{ContainerConfig, KeyValue};

use crate::error::{Error, Result};

/// Where programs are looked for, should neither image nor pod say.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Program and arguments. A command of the pod's hides the image's arguments too.
pub(super) fn args(
    config: &ContainerConfig,
    image_entrypoint: &[String],
    image_cmd: &[String],
) -> Result<Vec<String>> {
    let (program, arguments) = match (&config.command[..], &config.args[..]) {
        ([], []) => (image_entrypoint, image_cmd),
        ([], args) => (image_entrypoint, args),
        (command, args) => (command, args),
    };
    let args = [program, arguments].concat();
    match args.first() {
        None => Err(Error::invalid(
            "there is nothing to run: neither the image nor the container names a command",
        )),
        Some(program) if program.is_empty() => {
            Err(Error::invalid("the first word of the command is empty"))
        }
        Some(_) if args.iter().any(|arg| arg.contains('\0')) => Err(Error::invalid(
            "an argument of the command holds a NUL byte",
        )),
        Some(_) => Ok(args),
    }
}

/// Where it runs; the pod's word counts before the image's.
pub(super) fn working_dir(asked: &str, image: &str) -> Result<String> {
    let dir = [asked, image, "/"].into_iter().find(|dir| !dir.is_empty());
    match dir.unwrap_or("/") {
        dir if !dir.contains('\0') && (dir.starts_with('/') || asked.is_empty()) => {
            // Images do name relative ones, and mean from the root.
            Ok(format!("/{}", dir.trim_start_matches('/')))
        }
        dir => Err(Error::invalid(format!(
            "working_dir {dir:?} is not an absolute path"
        ))),
    }
}

/// `NAME=value` of the image, then of the pod; later ones take the place of earlier ones.
pub(super) fn environment(
    config: &ContainerConfig,
    image_env: &[String],
    hostname: &str,
) -> Result<Vec<Vec<u8>>> {
    let mut env = Environment::default();
    env.set(PATH.as_bytes());
    if !hostname.is_empty() {
        env.set(format!("HOSTNAME={hostname}").as_bytes());
    }
    if config.tty {
        env.set(b"TERM=xterm");
    }
    for variable in image_env {
        // Some images have entries without "="; a program would never find those.
        if variable.contains('=') {
            env.set(variable.as_bytes());
        }
    }
    for KeyValue { key, value } in &config.envs {
        if key.is_empty() || key.contains(['=', '\0']) || value.contains(&0) {
            return Err(Error::invalid(format!(
                "{key:?} can't be an environment variable"
            )));
        }
        env.set(&[key.as_bytes(), b"=", value].concat());
    }
    Ok(env.0)
}

/// Variables, each name once.
#[derive(Default)]
struct Environment(Vec<Vec<u8>>);

impl Environment {
    fn set(&mut self, variable: &[u8]) {
        let name = name(variable);
        match self.0.iter_mut().find(|old| self::name(old) == name) {
            Some(old) => *old = variable.to_vec(),
            None => self.0.push(variable.to_vec()),
        }
    }
}

fn name(variable: &[u8]) -> &[u8] {
    variable.split(|b| *b == b'=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn check(command: &[&str], arguments: &[&str], runs: Option<&[&str]>) {
        let config = ContainerConfig {
            command: words(command),
            args: words(arguments),
            ..Default::default()
        };
        let args = args(&config, &words(&["/entry"]), &words(&["cmd"]));
        assert_eq!(args.ok(), runs.map(words));
    }

    #[test]
    fn the_pods_words_take_the_place_of_the_images() {
        check(&[], &[], Some(&["/entry", "cmd"]));
        check(&[], &["a"], Some(&["/entry", "a"]));
        check(&["c"], &[], Some(&["c"]));
        check(&["c"], &["a"], Some(&["c", "a"]));
    }

    #[test]
    fn nothing_to_run_is_refused() {
        assert!(args(&ContainerConfig::default(), &[], &[]).is_err());
        check(&[""], &[], None);
        check(&["a\0b"], &[], None);
    }

    #[test]
    fn it_runs_where_the_pod_says_else_the_image_else_in_the_root() {
        assert_eq!(working_dir("/a", "/b").unwrap(), "/a");
        assert_eq!(working_dir("", "/b").unwrap(), "/b");
        assert_eq!(working_dir("", "b/c").unwrap(), "/b/c");
        assert_eq!(working_dir("", "").unwrap(), "/");
        assert!(working_dir("a", "/b").is_err());
    }

    #[test]
    fn variables_need_not_be_utf8_and_the_last_word_on_each_counts() {
        let value = |key: &str, value: &[u8]| KeyValue {
            key: key.into(),
            value: value.into(),
        };
        let config = ContainerConfig {
            envs: vec![value("B", b"\xff="), value("A", b"2"), value("B", b"\xfe")],
            ..Default::default()
        };
        let env = environment(&config, &words(&["PATH=/bin", "A=1", "odd"]), "web").unwrap();
        let expected: [&[u8]; 4] = [b"PATH=/bin", b"HOSTNAME=web", b"A=2", b"B=\xfe"];
        assert_eq!(env, expected);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        for key in ["", "A=B", "A\0"] {
            let config = ContainerConfig {
                envs: vec![KeyValue {
                    key: key.into(),
                    value: vec![],
                }],
                ..Default::default()
            };
            assert!(environment(&config, &[], "").is_err(), "{key:?}");
        }
    }
}
