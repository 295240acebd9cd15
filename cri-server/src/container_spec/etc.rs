//! `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts`, where no volume brings its own.

use std::path::Path;

use sandbox::spec::FileContent;

use crate::container_spec::PlannedMount;
use crate::error::{Error, Result};
use crate::pods::{Dns, SavedPod};

/// Files that every program expects to find.
pub(super) fn files(pod: &SavedPod, hostname: &str, mounts: &[PlannedMount]) -> Vec<FileContent> {
    let mounted = |path: &str| {
        mounts
            .iter()
            .any(|mount| Path::new(&mount.saved.container_path) == Path::new(path))
    };
    [
        ("/etc/hostname", format!("{hostname}\n")),
        ("/etc/hosts", hosts(pod, hostname)),
        ("/etc/resolv.conf", resolv_conf(pod.dns.as_ref())),
    ]
    .into_iter()
    .filter(|(path, _)| !mounted(path))
    .map(|(path, content)| FileContent {
        path: path.into(),
        content: content.into_bytes(),
        mode: 0o644,
    })
    .collect()
}

/// Words for resolv.conf, each on one line for sure.
pub fn check_dns(dns: &Dns) -> Result<()> {
    let words = [&dns.servers, &dns.searches, &dns.options]
        .into_iter()
        .flatten();
    for word in words {
        if word.is_empty() || word.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::invalid(format!(
                "dns_config: {word:?} is not one word"
            )));
        }
    }
    Ok(())
}

fn hosts(pod: &SavedPod, hostname: &str) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for ip in &pod.network.ips {
        text.push_str(&format!("{ip}\t{hostname}\n"));
    }
    text
}

/// The pod's name servers, or those of the node where the pod names none.
fn resolv_conf(dns: Option<&Dns>) -> String {
    let text = dns.map(resolv_conf_of).unwrap_or_default();
    if text.is_empty() {
        // A node without the file has no name servers, and neither has the pod then.
        return std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    }
    text
}

fn resolv_conf_of(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(server: &str) -> Dns {
        Dns {
            servers: vec![server.into()],
            searches: vec!["google.com".into(), "a.b".into()],
            options: vec!["ndots:8".into()],
        }
    }

    #[test]
    fn name_servers_are_those_of_the_pod() {
        assert_eq!(
            resolv_conf(Some(&dns("10.10.10.10"))),
            "search google.com a.b\nnameserver 10.10.10.10\noptions ndots:8\n"
        );
    }

    #[test]
    fn a_word_that_would_add_lines_is_refused() {
        assert!(check_dns(&dns("10.0.0.1")).is_ok());
        for bad in ["", "10.0.0.1\nnameserver 6.6.6.6", "a b"] {
            assert!(check_dns(&dns(bad)).is_err(), "{bad:?}");
        }
    }
}
