//! A TAP device in a pod's network namespace, wired up to the pod's interface as our machines' are.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::run;

/// The TAP device.
pub(super) const TAP: &str = "tap";
/// The pod's interface.
const INTERFACE: &str = "eth0";

/// It goes with the namespace.
pub(super) struct Wiring {
    namespace: String,
    /// The Ethernet address of the pod's interface.
    pub(super) mac: String,
    /// Its IPv4 address and prefix length.
    pub(super) address: String,
}

impl Wiring {
    pub(super) fn connect(namespace: &str) -> Result<Self> {
        let mut wiring = Self {
            namespace: namespace.to_owned(),
            mac: String::new(),
            address: String::new(),
        };
        wiring.mac = wiring.word_after("ether")?;
        wiring.address = wiring.word_after("inet")?;
        wiring.call("ip", &format!("tuntap add dev {TAP} mode tap vnet_hdr"))?;
        wiring.call("ip", &format!("link set {TAP} up"))?;
        for (from, to) in [(INTERFACE, TAP), (TAP, INTERFACE)] {
            wiring.call("tc", &format!("qdisc add dev {from} ingress"))?;
            wiring.call(
                "tc",
                &format!(
                    "filter add dev {from} parent ffff: protocol all u32 match u8 0 0 \
                     action mirred egress redirect dev {to}"
                ),
            )?;
        }
        Ok(wiring)
    }

    pub(super) fn ip(&self) -> Result<IpAddr> {
        let ip = self.address.split('/').next().unwrap_or_default();
        ip.parse().with_context(|| format!("read address {ip:?}"))
    }

    /// A call of `program` in the namespace.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace));
        command.arg(program);
        command
    }

    fn call(&self, program: &str, arguments: &str) -> Result<()> {
        run(self.command(program).args(arguments.split_whitespace()))
    }

    /// What `ip address` says of the interface after `key`.
    fn word_after(&self, key: &str) -> Result<String> {
        let mut command = self.command("ip");
        command.args(["address", "show", "dev", INTERFACE]);
        let told = String::from_utf8(command.output().context("run ip")?.stdout)?;
        let mut words = told.split_whitespace().skip_while(|word| {
            let word = word.trim_start_matches("link/");
            word != key
        });
        let word = words.nth(1).with_context(|| format!("{key} in {told:?}"))?;
        Ok(word.to_owned())
    }
}
