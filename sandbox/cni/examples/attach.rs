//! Attaches a network namespace to the node's network and detaches it again, by hand:
//! `attach add|check|del|list|gc <container id> [/run/netns/<name>]`.
//!
//! Uses `/etc/cni/net.d`, `/opt/cni/bin`, `/usr/lib/cni` and `/var/lib/cni`, or what is named in the
//! environment as `CONF_DIR`, `PLUGIN_DIRS` (with colons) and `CACHE_DIR`.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use cni::{Attachment, AttachmentId, Cni, Config};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (verb, container, netns) = match arguments.as_slice() {
        [verb, container, rest @ ..] => (*verb, *container, rest.first().copied()),
        _ => return Err("usage: attach add|check|del|list|gc <container id> [netns]".into()),
    };
    let cni = Cni::open(config()).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", cni.readiness())?;
    let id = AttachmentId::new(container, "eth0")?;
    let attachment = Attachment::new(id.clone(), netns.unwrap_or("/nonexistent"));
    let started = Instant::now();
    let done = match verb {
        "add" => cni.add(attachment).await.map(|added| {
            let ips: Vec<_> = added.result.ips_of("eth0").collect();
            format!("{ips:?}, plugins ran for {:?},", added.plugins)
        }),
        "del" => cni.del(attachment).await.map(|()| "detached".into()),
        "check" => cni.check(&id).await.map(|()| "as it was made".into()),
        "list" => cni.attachments().map(|all| format!("{all:#?}")),
        // Everything but this container is undone.
        "gc" => {
            let valid = move || BTreeSet::from([id.clone()]);
            cni.gc(valid).await.map(|report| format!("{report:?}"))
        }
        _ => return Err(format!("{verb} is no verb").into()),
    };
    match done {
        Ok(words) => writeln!(out, "{words} in {:?}", started.elapsed())?,
        Err(error) => return Err(chain(&error).into()),
    }
    Ok(())
}

fn config() -> Config {
    let variable = |name, otherwise: &str| std::env::var(name).unwrap_or(otherwise.to_owned());
    let plugin_dirs = variable("PLUGIN_DIRS", "/opt/cni/bin:/usr/lib/cni");
    Config {
        conf_dir: variable("CONF_DIR", "/etc/cni/net.d").into(),
        plugin_dirs: plugin_dirs.split(':').map(Into::into).collect(),
        cache_dir: variable("CACHE_DIR", "/var/lib/cni").into(),
        owner: "example".into(),
        network: None,
        max_plugins: 8,
        add_timeout: Duration::from_secs(120),
        del_timeout: Duration::from_secs(60),
        query_timeout: Duration::from_secs(10),
        conf_template: None,
    }
}

fn chain(error: &dyn Error) -> String {
    std::iter::successors(Some(error), |error| (*error).source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
