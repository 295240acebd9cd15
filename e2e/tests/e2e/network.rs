//! Pods' networks, made by the node's real CNI plugins, and what happens when plugins fail.
//!
//! Tests put a network of their own in front of the node's, and take it away again.

mod bandwidth;
mod bridge;
mod conflist;
mod failing_plugins;
mod host_ports;
mod interfaces;
mod machines;
mod node;
mod outside;
mod plugin;
mod plugin_health;
mod services;
mod traces;
mod web;
