//! The end of the machine.

use rustix::system::{RebootCommand, reboot};

/// Everything on disk, then off.
pub(super) fn off() -> ! {
    rustix::fs::sync();
    end(RebootCommand::PowerOff)
}

/// Ends the machine as a kernel that panicked would: the host sees a reset and knows that it was not
/// asked for.
pub(super) fn reset() -> ! {
    rustix::fs::sync();
    end(RebootCommand::Restart)
}

/// A panic of ours is a panic of the machine, after its message.
pub(super) fn reset_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        reset();
    }));
}

fn end(how: RebootCommand) -> ! {
    loop {
        // It only fails without the right, and PID 1 has it.
        let _ = reboot(how);
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
