//! A program in a pseudo-terminal: what a person types, and what the screen shows.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long the screen may take to show what is expected, in an emulated node.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that has a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    /// The side of the terminal where a person sits.
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not yet expected.
    shown: String,
}

impl Terminal {
    /// Starts `program` in a terminal of so many rows and columns.
    pub fn start(program: &str, arguments: &[&str], rows: u16, columns: u16) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).context("open a terminal")?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?.into_string()?;
        // `setsid` makes it the program's controlling terminal, or its keys would make no signals.
        let theirs = || File::options().read(true).write(true).open(&name);
        let keyboard = File::from(ours);
        set_size(&keyboard, rows, columns)?;
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", program])
            .args(arguments)
            .env("TERM", "xterm")
            .stdin(Stdio::from(theirs()?))
            .stdout(Stdio::from(theirs()?))
            .stderr(Stdio::from(theirs()?))
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let screen = watch(keyboard.try_clone()?);
        Ok(Self {
            child,
            keyboard,
            screen,
            shown: String::new(),
        })
    }

    /// Types `keys`.
    pub fn type_in(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("type")
    }

    /// Makes the window larger or smaller.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        set_size(&self.keyboard, rows, columns)
    }

    /// Waits until the screen shows `text`, and returns all that it has shown until then.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(start) = self.shown.find(text) {
                let rest = self.shown.split_off(start + text.len());
                return Ok(std::mem::replace(&mut self.shown, rest));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown += &String::from_utf8_lossy(&bytes),
                Err(_) => bail!("the screen does not show {text:?} but {:?}", self.shown),
            }
        }
    }

    /// Waits until the program has ended.
    pub fn end(mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.child.kill()?;
                bail!(
                    "the program does not end; the screen shows {:?}",
                    self.shown
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, or a test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &File, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).context("set the size of the terminal")
}

/// What the program writes, until nobody has the terminal open any more.
fn watch(mut terminal: File) -> Receiver<Vec<u8>> {
    let (sender, screen) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = terminal.read(&mut bytes) {
            if sender.send(bytes[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    screen
}
