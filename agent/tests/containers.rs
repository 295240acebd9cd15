//! Containers as a client of the agent sees them.
