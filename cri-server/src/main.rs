//! The daemon that the kubelet talks to: flags, configuration, start, wait for the end.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use cri_server::cli::{CONFIG, Cli, Command, ConfigFile};
use cri_server::config::{Config, ConfigError};
use cri_server::error::chain;
use cri_server::handlers::Handlers;
use cri_server::instance_lock::{InstanceLock, LockError};
use cri_server::network::Network;
use cri_server::server::Listening;
use cri_server::state::State;
use cri_server::{CriServer, Parts, logging};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

mod operator;

/// sysexits(3): what was typed, what is missing on this node, what is wrong in the configuration.
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mistake) => {
            let code = if mistake.use_stderr() { EX_USAGE } else { 0 };
            // Nothing is left to do if the terminal is gone.
            mistake.print().ok();
            return ExitCode::from(code);
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bulkhead: {}", chain(error.as_ref()));
            exit_code(&error)
        }
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error {
        error if error.is::<ConfigError>() => ExitCode::from(EX_CONFIG),
        error if error.is::<LockError>() || error.is::<NodeNotFit>() => {
            ExitCode::from(EX_UNAVAILABLE)
        }
        _ => ExitCode::FAILURE,
    }
}

#[tokio::main]
async fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Serve(file) => serve(load(&file)?).await,
        Command::Console(of) => operator::console(&load(&of.config)?, &of.pod).await,
        Command::Explain(of) => operator::explain(&load(&of.config)?, &of.pod).await,
        Command::Version(file) => operator::version(&load(&file)?).await,
    }
}

/// The configuration; without a file, and none asked for, the defaults.
fn load(file: &ConfigFile) -> Result<Config> {
    let usual = Path::new(CONFIG);
    Ok(match &file.config {
        Some(path) => Config::load(path)?,
        None if usual.exists() => Config::load(usual)?,
        None => Config::parse("", usual)?,
    })
}

/// This node can't be a node of ours.
#[derive(Debug, thiserror::Error)]
#[error("this node can't run pods: {0}")]
struct NodeNotFit(String);

async fn serve(config: Config) -> Result<()> {
    logging::start(&config.log).context("log.filter of the configuration")?;
    sandbox::cgroup::check_hierarchy().map_err(NodeNotFit)?;
    let _only_one = InstanceLock::take(&config.state_dir)?;
    let mut end = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let socket = config.socket.clone();
    let server = open(config).await?;
    let listening = Listening::on(&socket)?;
    info!(socket = %socket.display(), version = env!("CARGO_PKG_VERSION"), "ready");
    notify(NotifyState::Ready);
    let stop = async {
        tokio::select! {
            _ = end.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("ending; pods go on");
        notify(NotifyState::Stopping);
    };
    Ok(listening.serve(server, stop).await?)
}

async fn open(config: Config) -> Result<std::sync::Arc<CriServer>> {
    let state = State::open(&config.state_dir.join("state.db"))?;
    let images = image_service::Images::open(config.images.clone()).await?;
    let network = Network::open(config.network.clone()).await?;
    let handlers = Handlers::open(&config);
    let parts = Parts {
        config,
        handlers,
        images,
        network,
        state,
    };
    CriServer::start(parts)
        .await
        .context("take back what the last server left")
}

/// Tells systemd, where it started us.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        error!(error = chain(&error), "systemd can't be told");
    }
}
