//! Why a machine is over, in words for whoever has to find out.

use vmm_api::Event;
use vmm_api::event::Stop;

use super::console;
use super::control::Events;
use super::sandbox::Shared;
use crate::agent::quoted;
use crate::supervisor::LogFile;

/// Bytes of the VMM's last words in the reason of a machine's end.
const LAST_WORDS: usize = 1000;

/// Why a machine is over.
pub(super) enum Reason {
    /// The VMM told.
    Stopped(Stop, String),
    /// The VMM died without a word.
    Died(String),
    /// The agent did not answer any more.
    Hung,
}

impl Reason {
    /// What the VMM told of the end, which is here once it is gone.
    pub(super) async fn told_by(mut events: Events) -> Option<Self> {
        let mut stopped = None;
        while let Some(event) = events.next().await {
            if let Event::Stopped { how, why } = event {
                stopped = Some(Self::Stopped(how, why));
            }
        }
        stopped
    }
}

impl Shared {
    /// The reason, with what the guest and others said last.
    pub(super) fn explain_end(&self, reason: &Reason) -> String {
        if self.ending.was_asked() {
            return "stopped".to_owned();
        }
        match reason {
            Reason::Stopped(Stop::PowerOff, _) => "the guest powered off by itself".to_owned(),
            Reason::Stopped(Stop::HostError, why) => format!(
                "the machine stopped: {}{}{}",
                quoted(why),
                self.file_servers_words(),
                self.consoles_words()
            ),
            Reason::Stopped(_, why) => format!(
                "the machine stopped: {}{}",
                quoted(why),
                self.consoles_words()
            ),
            Reason::Hung => format!(
                "the guest hung: its agent had not answered for {} s{}",
                self.config.hang_timeout_s,
                self.consoles_words()
            ),
            Reason::Died(how) if self.launched.cgroup.supervisor_ran_out_of_memory() => format!(
                "the VMM {how}: it ran into the memory limit of its cgroup, {} MiB for the machine and {} \
                 for itself",
                self.launched.size.memory_mib, self.config.vmm_memory_mib
            ),
            Reason::Died(how) => {
                let words = LogFile::at(self.launched.places.log.clone()).tail(LAST_WORDS);
                format!("the VMM {how}; its last words: {}", quoted(&words))
            }
        }
    }

    fn consoles_words(&self) -> String {
        match console::last_words(&self.launched.places.console) {
            words if words.is_empty() => "; nothing is on its console".to_owned(),
            words => format!("; last on its console: {words}"),
        }
    }

    fn file_servers_words(&self) -> String {
        match LogFile::at(self.launched.places.fsd_log.clone()).tail(LAST_WORDS) {
            words if words.is_empty() => words,
            words => format!("; last words of its file server: {}", quoted(&words)),
        }
    }
}
