//! Containers as a client of an agent on the host sees them. Needs root and cgroup v2: runs in the node.

#[cfg(test)]
#[path = "containers/fixture.rs"]
mod fixture;

#[cfg(test)]
#[path = "containers/files.rs"]
mod files;
#[cfg(test)]
#[path = "containers/life.rs"]
mod life;
#[cfg(test)]
#[path = "containers/namespaces.rs"]
mod namespaces;
#[cfg(test)]
#[path = "containers/processes.rs"]
mod processes;
#[cfg(test)]
#[path = "containers/resources.rs"]
mod resources;
#[cfg(test)]
#[path = "containers/security.rs"]
mod security;
#[cfg(test)]
#[path = "containers/streams.rs"]
mod streams;
