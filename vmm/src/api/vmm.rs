//! The process's one machine, and what may be asked of it.

use std::time::Instant;

use vmm_api::event::Stop;
use vmm_api::{ErrorCode, Event, Failure, MachineSpec, MachineStatus, Reply, Request};

use super::peer::Outcome;
use crate::files::Files;
use crate::machine::{self, Machine, Surroundings};
use crate::milestone::Ended;

/// The machine, once there is one, and what it has been given.
pub(super) struct Vmm {
    machine: Option<Box<dyn Machine>>,
    surroundings: Surroundings,
}

impl Vmm {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Self {
            machine: None,
            surroundings,
        }
    }

    pub(super) fn has_machine(&self) -> bool {
        self.machine.is_some()
    }

    /// Does what is asked, and answers.
    pub(super) fn answer(&mut self, request: &Request, files: &Files) -> (Reply, Outcome) {
        let answer = match request {
            Request::Boot(spec) => match self.boot(spec, files) {
                Ok(()) => return (Reply::Done, Outcome::Booted),
                Err(error) => Err(error),
            },
            Request::Kill => {
                let why = "the machine was killed on request";
                self.surroundings.end.end(Stop::Killed, why);
                return (Reply::Done, Outcome::Killed);
            }
            Request::Attach(device) => self
                .machine()
                .and_then(|machine| machine.attach(device, files))
                .map(Reply::Attached),
            Request::Detach(address) => self
                .machine()
                .and_then(|machine| machine.detach(*address))
                .map(|()| Reply::Done),
            Request::OpenLog { container, file } => self.open_log(container, *file, files),
            Request::CloseLog { container } => {
                self.surroundings.logs.close(container);
                Ok(Reply::Done)
            }
            Request::Status => Ok(Reply::Status(self.status())),
            Request::Hello { .. } | Request::Subscribe => {
                Err(wrong_state("asked of the connection, not of the machine"))
            }
        };
        (answer.unwrap_or_else(|error| failed(&error)), Outcome::Stay)
    }

    /// The events that a subscriber has missed.
    pub(super) fn so_far(&self) -> Vec<Event> {
        let Surroundings { ready, end, .. } = &self.surroundings;
        if let Some(Ended { how, why }) = end.get().cloned() {
            return vec![Event::Stopped { how, why }];
        }
        let running = self.has_machine().then_some(Event::Running);
        let ready = ready.is_reached().then_some(Event::GuestReady);
        running.into_iter().chain(ready).collect()
    }

    /// Gives back what the machine holds, once it has ended.
    pub(super) fn stop(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.stop();
        }
        self.surroundings.logs.finish();
    }

    fn boot(&mut self, spec: &MachineSpec, files: &Files) -> Result<(), machine::Error> {
        if self.has_machine() || self.surroundings.end.is_reached() {
            return Err(wrong_state("this process has had its machine"));
        }
        let begin = Instant::now();
        let mut machine = machine::create(spec, files, self.surroundings.clone())?;
        let built = begin.elapsed();
        machine.boot()?;
        self.machine = Some(machine);
        tracing::info!(
            vcpus = spec.vcpus,
            memory_mib = spec.memory_mib,
            ?built,
            took = ?begin.elapsed(),
            "the machine runs"
        );
        Ok(())
    }

    fn machine(&mut self) -> Result<&mut Box<dyn Machine>, machine::Error> {
        let machine = self.machine.as_mut();
        machine.ok_or_else(|| wrong_state("there is no machine yet"))
    }

    fn open_log(&self, container: &str, file: u32, files: &Files) -> Result<Reply, machine::Error> {
        let file = files
            .file("file", file)
            .map_err(|error| machine::Error::new(ErrorCode::Invalid, error))?;
        self.surroundings.logs.open(container, file);
        Ok(Reply::Done)
    }

    fn status(&self) -> MachineStatus {
        let end = self.surroundings.end.get();
        let state = match (end, &self.machine) {
            (Some(_), _) => "stopped",
            (None, Some(_)) => "running",
            (None, None) => "created",
        };
        let machine = self.machine.as_ref();
        let logs = self.surroundings.logs.counters().into_iter();
        MachineStatus {
            state: state.to_owned(),
            why: end.map(|ended| ended.why.clone()),
            devices: machine.map(|m| m.attached()).unwrap_or_default(),
            counters: machine
                .map(|m| m.counters())
                .unwrap_or_default()
                .into_iter()
                .chain(logs.map(|(name, count)| (name.to_owned(), count)))
                .collect(),
        }
    }
}

fn wrong_state(why: &'static str) -> machine::Error {
    machine::Error::new(ErrorCode::WrongState, why)
}

fn failed(error: &machine::Error) -> Reply {
    let message = crate::chain(error);
    tracing::info!(code = ?error.code(), message, "a request was refused");
    Reply::Failed(Failure {
        code: error.code(),
        message,
    })
}
