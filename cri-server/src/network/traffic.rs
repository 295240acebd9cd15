//! What went through a pod's interfaces.

use std::io;
use std::path::PathBuf;

use netlink::{Link, Socket};
use sandbox::OWN_LINKS;

use super::wishes::INTERFACE;

/// The links of the namespace at `path`: the one with the pod's main addresses, and the others.
pub(crate) async fn traffic(path: PathBuf) -> io::Result<(Option<Link>, Vec<Link>)> {
    let asked = tokio::task::spawn_blocking(move || Socket::open_in(&path)?.links());
    Ok(sort(asked.await.map_err(io::Error::other)??))
}

/// Without the loopback, and without what a sandbox has added.
fn sort(links: Vec<Link>) -> (Option<Link>, Vec<Link>) {
    let plugins = |link: &Link| !link.loopback && !link.name.starts_with(OWN_LINKS);
    let links = links.into_iter().filter(plugins);
    let (mut default, others): (Vec<_>, Vec<_>) = links.partition(|link| link.name == INTERFACE);
    (default.pop(), others)
}

#[cfg(test)]
mod tests {
    use netlink::Traffic;

    use super::*;

    #[test]
    fn what_plugins_made_is_counted() {
        let names = ["lo", "eth0", "bulkhead0", "net1", "tunl0"];
        let links = names.map(|name| Link {
            index: 1,
            name: name.into(),
            mac: None,
            mtu: 1500,
            up: true,
            loopback: name == "lo",
            traffic: Traffic::default(),
        });
        let (default, others) = sort(links.to_vec());
        assert_eq!(default.map(|link| link.name), Some("eth0".into()));
        let others = others.into_iter().map(|link| link.name);
        assert_eq!(others.collect::<Vec<_>>(), ["net1", "tunl0"]);
    }

    #[tokio::test]
    async fn a_namespace_that_is_gone_is_an_error() {
        let gone = traffic("/nonexistent".into()).await;
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
