//! Says whether this node's network is ready, each time that this changes: `watch [conf dir] [plugin dir]`.

use std::io::Write;
use std::time::Duration;

use cni::{Cni, Config};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |otherwise: &str| arguments.next().unwrap_or(otherwise.to_owned());
    let config = Config {
        conf_dir: next("/etc/cni/net.d").into(),
        plugin_dirs: vec![next("/opt/cni/bin").into()],
        // Nothing is attached, so nothing is recorded there.
        cache_dir: std::env::temp_dir().join("cni-watch"),
        owner: "example".into(),
        network: None,
        max_plugins: 2,
        add_timeout: Duration::from_secs(60),
        del_timeout: Duration::from_secs(60),
        query_timeout: Duration::from_secs(10),
        conf_template: None,
    };
    let cni = Cni::open(config).await?;
    let mut told = None;
    loop {
        let readiness = cni.readiness();
        if told.as_ref() != Some(&readiness) {
            let word = if readiness.is_ready() {
                "ready"
            } else {
                "not ready"
            };
            writeln!(std::io::stdout(), "{word}: {readiness}")?;
            told = Some(readiness);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
