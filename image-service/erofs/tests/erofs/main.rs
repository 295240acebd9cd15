//! The crate from outside: tars in, and what two readers and a model see come out.
//!
//! Real mounts need root and are tested in the node VM; nothing here does.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod image;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod merging;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod tar;
