//! The runtime side of the Container Network Interface: any network plugin, and what it takes to
//! run them for years.
//!
//! ```text
//!  Config ──▶ Cni::open ── survey (in the background) ──▶ readiness()   which network, in which version
//!               │
//!               ├─ add(Attachment) ──▶ record, plugins in order, record with result ──▶ Added
//!               ├─ del(Attachment) ──▶ recorded configuration, plugins in reverse, no record
//!               ├─ check(id)       ──▶ recorded configuration, plugins in order
//!               ├─ gc(valid)       ──▶ del of what nobody has, then GC of the plugins
//!               └─ set_pod_cidr()  ──▶ a template becomes the network's configuration
//! ```
//!
//! **Versions.** Networks of CNI 0.3.0 to 1.1.0. Of those that a configuration offers, the highest
//! is taken that all its plugins speak; each plugin is asked once.
//!
//! **Nothing leaks.** A record is written before the first plugin runs. Whatever fails or dies after
//! that is undone by it: at once, later, or by [`Cni::gc`] at the next start. Undoing uses the
//! configuration and arguments of the record, whatever became of the network since.
//!
//! **Plugins are strangers.** One that hangs is killed with all it started; one that floods its
//! output likewise; one that answers nonsense, or with an error and success at once, has failed. What
//! it says in its failure is cut and made printable before it gets into an [`Error`].
//!
//! **The caller decides** where network namespaces come from and what an attachment is for: this
//! crate knows neither pods nor Kubernetes, apart from the names of some capabilities.

mod attachment;
mod cache;
mod capabilities;
mod chain;
mod cidr;
mod conf_dir;
mod config;
mod error;
mod exec;
mod network_config;
mod node;
mod plugins;
mod readiness;
mod result;
mod runs;
mod stats;
mod survey;
mod template;
mod turns;
mod version;
mod watch;

pub use attachment::{Attachment, AttachmentId, CniArgs};
pub use cache::SavedAttachment;
pub use capabilities::{Bandwidth, CapabilityArgs, DnsConfig, IpRange, PortMapping, Protocol};
pub use cidr::Cidr;
pub use config::Config;
pub use error::{ConfigError, Error, Failure, Invalid, Kind, PluginError};
pub use exec::Command;
pub use node::{Added, Cni, GcReport, PodCidrOutcome};
pub use readiness::Readiness;
pub use result::{AddResult, Dns, Interface, IpConfig, Route};
pub use stats::CommandStats;
pub use template::{PodCidrs, Template};
pub use version::SpecVersion;

/// The code of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
