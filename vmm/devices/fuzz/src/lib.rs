//! A hostile guest: it sets a device up as a driver would, and then does what it likes.

mod machine;
mod step;

pub use machine::Machine;
pub use step::{Attack, Step};
