//! What the loopback index was told to do, and what it saw.

use std::collections::HashMap;
use std::net::TcpStream;
use std::thread::JoinHandle;

use super::Shared;
use super::fault::Fault;
use super::page::{Extra, HashCache, PageMode};
use super::request::Request;

#[derive(Debug)]
pub(super) struct State {
    pub(super) is_stopping: bool,
    pub(super) mode: PageMode,
    pub(super) gzip_pages: bool,
    pub(super) files_base: Option<String>,
    pub(super) extras: HashMap<String, Extra>,
    pub(super) faults: Vec<(String, Fault)>,
    pub(super) logins: Vec<(String, String)>,
    pub(super) requests: Vec<Request>,
    pub(super) offered_protocols: Vec<String>,
    pub(super) connections: Vec<(TcpStream, JoinHandle<()>)>,
    pub(super) connections_total: usize,
    pub(super) under_way: usize,
    pub(super) under_way_peak: usize,
    pub(super) hashes: HashCache,
    /// Bytes of bodies that were sent, in all.
    pub(super) body_bytes: u64,
    /// Most streams that one HTTP/2 connection had open at once.
    pub(super) streams_peak: usize,
    /// Answers below this path wait until so many streams of their HTTP/2 connection do.
    pub(super) gate: Option<(String, usize)>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            is_stopping: false,
            mode: PageMode::Negotiated,
            gzip_pages: false,
            files_base: None,
            extras: HashMap::new(),
            faults: Vec::new(),
            logins: Vec::new(),
            requests: Vec::new(),
            offered_protocols: Vec::new(),
            connections: Vec::new(),
            connections_total: 0,
            under_way: 0,
            under_way_peak: 0,
            hashes: HashCache::new(),
            body_bytes: 0,
            streams_peak: 0,
            gate: None,
        }
    }

    /// The faults that this request meets.
    pub(super) fn faults_for(&mut self, path: &str) -> Vec<Fault> {
        let mut met = Vec::new();
        let mut has_event = false;
        for (_, fault) in self.faults.iter_mut().filter(|(of, _)| of == path) {
            if fault.is_trait() || (!has_event && fault.use_up()) {
                has_event |= !fault.is_trait();
                met.push(fault.clone());
            }
        }
        met
    }

    pub(super) fn refuses(&self, request: &Request) -> bool {
        let is_below = |prefix: &String| request.path.starts_with(prefix.as_str());
        let login = self.logins.iter().find(|(prefix, _)| is_below(prefix));
        login.is_some_and(|(_, value)| request.header("authorization") != Some(value))
    }
}

/// One request that is being answered; not counted any more once dropped.
pub(super) struct UnderWay<'a>(pub(super) &'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}
