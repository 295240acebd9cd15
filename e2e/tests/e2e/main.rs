//! What a kubelet and an operator see of a running `bulkhead serve`, under every handler.
//!
//! Runs as root in a node VM (`cargo xtask test`), one test at a time: some of them kill the server.
#![cfg(feature = "privileged")]

/// Makes one test per handler of each function named.
macro_rules! under_every_handler {
    ($($name:ident),+ $(,)?) => {
        mod namespaced {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name("namespaced").await
            })+
        }
        mod kvm {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name("kvm").await
            })+
        }
    };
}

mod bad_input;
mod containers;
mod crictl;
mod exec;
mod full_disk;
mod images;
mod leaks;
mod logs;
mod machines;
mod network;
mod pods;
mod restart;
mod streaming;
