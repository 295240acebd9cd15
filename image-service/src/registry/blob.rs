//! A blob on its way in: resumed where a connection breaks, from whichever host still has it.

use bytes::{Bytes, BytesMut};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::Session;
use super::failure::{Attempts, Class, Failure};
use super::request::Ask;
use super::rounds::Rounds;
use super::timing::StallClock;
use crate::digest::Digest;

/// What a blob must turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlobSpec {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// The bytes of one blob, in order. The digest is checked at the end: nothing may be made of the
/// bytes for good before [`next`](Self::next) has returned `None`.
pub(crate) struct BlobStream<'a> {
    session: &'a Session,
    spec: BlobSpec,
    rounds: Rounds,
    clock: StallClock,
    open: Option<Open>,
    received: u64,
    hash: Sha256,
    /// Hosts that bytes came from.
    pub(crate) sources: Vec<usize>,
}

/// A running answer.
struct Open {
    index: usize,
    response: Response,
    /// Bytes that we have already: this host began from the start.
    skip: u64,
    /// New bytes that it brought.
    brought: u64,
}

impl Session {
    /// Streams a blob from the hosts that are not in `distrusted`.
    pub(crate) fn blob(&self, spec: BlobSpec, distrusted: &[usize]) -> BlobStream<'_> {
        let mut order = self.eligible(|host| host.pull);
        order.retain(|index| !distrusted.contains(index));
        BlobStream {
            session: self,
            spec,
            rounds: Rounds::new(&self.registry.timing, order),
            clock: self.registry.timing.stall_clock(),
            open: None,
            received: 0,
            hash: Sha256::new(),
            sources: Vec::new(),
        }
    }

    /// All of a small blob. The caller has checked its size.
    pub(crate) async fn small_blob(&self, spec: BlobSpec) -> Result<Bytes, Attempts> {
        let mut distrusted = Vec::new();
        loop {
            let mut stream = self.blob(spec, &distrusted);
            let mut bytes = BytesMut::new();
            let corrupt = loop {
                match stream.next().await? {
                    Some(Piece::Bytes(chunk)) => bytes.extend_from_slice(&chunk),
                    Some(Piece::Corrupt(attempts)) => break attempts,
                    None => return Ok(bytes.freeze()),
                }
            };
            if !self.distrust(&mut distrusted, &stream.sources) {
                return Err(corrupt);
            }
        }
    }

    /// Adds the `sources` of a bad blob to `distrusted`. False if trying again is pointless: no
    /// other host is left, or none was to blame.
    pub(crate) fn distrust(&self, distrusted: &mut Vec<usize>, sources: &[usize]) -> bool {
        distrusted.extend(sources);
        let trusted = |index: &usize| !distrusted.contains(index);
        !sources.is_empty() && self.eligible(|host| host.pull).iter().any(trusted)
    }
}

/// What a blob's stream yields.
pub(crate) enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// All bytes have arrived, and they are not the blob. Another host may have the right ones.
    Corrupt(Attempts),
}

impl BlobStream<'_> {
    /// The next bytes; `None` once all have arrived and their digest is right.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Attempts> {
        while self.received < self.spec.size {
            if self.open.is_none() && !self.open_next().await? {
                continue;
            }
            if let Some(chunk) = self.read().await {
                self.hash.update(&chunk);
                self.received += chunk.len() as u64;
                return Ok(Some(Piece::Bytes(chunk)));
            }
        }
        let digest = Digest::finish(self.hash.clone());
        if digest == self.spec.digest {
            return Ok(None);
        }
        if self.sources.is_empty() {
            // A manifest that says so of 0 bytes: nobody was even asked.
            let text = format!("{} can't have 0 bytes", self.spec.digest);
            let failure = Failure::new(Class::Corrupt, text);
            return Err(Attempts(vec![("the manifest".to_owned(), failure)]));
        }
        let text = format!("sent {digest} for {}", self.spec.digest);
        let failed = |index: &usize| {
            let failure = Failure::new(Class::Corrupt, text.clone());
            (self.session.endpoints[*index].host.name.clone(), failure)
        };
        Ok(Some(Piece::Corrupt(Attempts(
            self.sources.iter().map(failed).collect(),
        ))))
    }

    /// Asks the next host; false if it failed.
    async fn open_next(&mut self) -> Result<bool, Attempts> {
        let Some(index) = self.rounds.next().await else {
            let rounds = Rounds::new(&self.session.registry.timing, Vec::new());
            return Err(std::mem::replace(&mut self.rounds, rounds).give_up());
        };
        match self.open_at(index).await {
            Ok(open) => self.open = Some(open),
            Err(failure) => self
                .rounds
                .failed(index, &self.session.endpoints[index], failure),
        }
        Ok(self.open.is_some())
    }

    async fn open_at(&self, index: usize) -> Result<Open, Failure> {
        let ask = Ask {
            method: Method::GET,
            path: format!("blobs/{}", self.spec.digest),
            accept: "*/*",
            from: self.received,
        };
        let response = self
            .session
            .request(&self.session.endpoints[index], &ask)
            .await?;
        let skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                check_range(&response, self.received)?;
                0
            }
            _ => self.received,
        };
        let expected = self.spec.size - self.received + skip;
        match response.content_length() {
            // A shorter partial answer is legal; the rest is asked for afterwards.
            Some(len) if len > expected || (len < expected && skip == self.received) => {
                let text = format!("offers {len} bytes of {expected}");
                Err(Failure::new(Class::Corrupt, text))
            }
            _ => Ok(Open {
                index,
                response,
                skip,
                brought: 0,
            }),
        }
    }

    /// The next new bytes of the running answer; `None` if it broke off.
    async fn read(&mut self) -> Option<Bytes> {
        let open = self.open.as_mut()?;
        let failure = match self.clock.chunk(&mut open.response).await {
            Ok(Some(mut chunk)) => {
                let skipped = open.skip.min(chunk.len() as u64);
                open.skip -= skipped;
                let _ = chunk.split_to(usize::try_from(skipped).unwrap_or(usize::MAX));
                let wanted = self.spec.size - self.received;
                chunk.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                if !chunk.is_empty() && open.brought == 0 {
                    self.sources.push(open.index);
                }
                open.brought += chunk.len() as u64;
                return Some(chunk);
            }
            Ok(None) => {
                let text = format!("ended after {} of {} bytes", self.received, self.spec.size);
                Failure::new(Class::Transient, text)
            }
            Err(failure) => failure,
        };
        self.broke_off(failure).await;
        None
    }

    async fn broke_off(&mut self, failure: Failure) {
        let Some(open) = self.open.take() else { return };
        // A fresh connection gets a fresh span.
        self.clock = self.session.registry.timing.stall_clock();
        // A trickle is no progress, or a bad host would be tried for ever.
        match open.brought >= self.session.registry.timing.stall_min_bytes {
            true => self.rounds.restart_after(open.index).await,
            false => {
                self.rounds
                    .failed(open.index, &self.session.endpoints[open.index], failure);
            }
        }
    }
}

/// `Content-Range: bytes <from>-…` must begin where we asked it to.
fn check_range(response: &Response, from: u64) -> Result<(), Failure> {
    let value = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let start = value
        .and_then(|value| value.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next()?.trim().parse::<u64>().ok());
    match start {
        Some(start) if start == from => Ok(()),
        _ => Err(Failure::new(
            Class::Permanent,
            "answers another range than it was asked for",
        )),
    }
}
