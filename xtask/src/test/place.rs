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
    /// Somebody has left things in it.
    used_up: bool,
}

impl<'a> Place<'a> {
    pub(super) fn new(number: usize, products: &'a [Product]) -> Self {
        Self {
            name: format!("test-{number}"),
            products,
            node: None,
            used_up: false,
        }
    }

    /// A node for `suite`: the one of the suite before, unless one of the two has a server.
    pub(super) fn node_for(&mut self, suite: &Suite) -> Result<&OwnedNode> {
        if self.used_up || suite.wants_server() {
            self.leave();
        }
        self.used_up = suite.wants_server();
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
