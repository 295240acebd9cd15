//! Where suites run, one after the other: a node, and the next one when that is used up.

use super::suite::Suite;
use crate::node::{self, OwnedNode, Product};
use anyhow::Result;

/// At most one node at a time.
pub(super) struct Place<'a> {
    name: String,
    /// What a node has beside all that was built.
    products: &'a [Product],
    node: Option<OwnedNode>,
    /// It is not as it was any more.
    used_up: bool,
    /// What ran in it last had no server. A server is not tested among the leavings of others.
    served_nobody: bool,
}

impl<'a> Place<'a> {
    pub(super) fn new(number: usize, products: &'a [Product]) -> Self {
        Self {
            name: format!("test-{number}"),
            products,
            node: None,
            used_up: false,
            served_nobody: false,
        }
    }

    /// A node for `suite`: the one of the suite before, unless that has changed it,
    /// or only this one has a server.
    pub(super) fn node_for(&mut self, suite: &Suite) -> Result<&OwnedNode> {
        if self.used_up || self.served_nobody && suite.wants_server() {
            self.leave();
        }
        self.used_up = suite.changes_node();
        self.served_nobody = !suite.wants_server();
        let node = match self.node.take() {
            Some(node) => node,
            None => OwnedNode::boot(&self.name, node::DEFAULT_MEMORY_MIB, self.products)?,
        };
        Ok(self.node.insert(node))
    }

    /// Whoever comes next gets another node.
    pub(super) fn leave(&mut self) {
        self.node = None;
    }
}
