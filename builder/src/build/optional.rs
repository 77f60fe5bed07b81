//! Building once more with what a build that went well did without, where packages are unpacked for it anyway.

use std::collections::BTreeSet;

use pip_accel_schema::name::PackageVersion;
use pip_accel_schema::system_inputs::Without;

use super::{AsOf, Build};
use crate::event::{Event, with_causes};
use crate::layers::KeptRequest;
use crate::realize::engine::{How, Obtained, store_error};
use crate::realize::error::ObtainError;

/// How often one build is repeated for optional packages: the longest known list, pillow's, takes two.
const OPTIONAL_ROUNDS_MAX: usize = 3;

/// What an attempt gave.
pub(super) struct Attempted {
    pub(super) obtained: Obtained,
    /// The version as the requests of layers know it.
    pub(super) label: PackageVersion,
    /// What it did without.
    pub(super) without: Vec<Without>,
}

impl Build<'_> {
    /// The build; where packages are unpacked without a question, also with those that it could use.
    pub(super) async fn attempt(&self, as_of: Option<&AsOf>) -> Result<Obtained, ObtainError> {
        let session = &self.engine.session;
        let mut last = self.attempt_once(as_of).await?;
        if !session.options.unpack || session.options.offline {
            return Ok(last.obtained);
        }
        let mut asked: BTreeSet<String> = BTreeSet::new();
        for _ in 0..OPTIONAL_ROUNDS_MAX {
            let packages = last.without.iter().map(|without| without.package.clone());
            let packages: Vec<String> = packages.filter(|package| asked.insert(package.clone())).collect();
            if packages.is_empty() || !matches!(last.obtained.how, How::Built) {
                break;
            }
            let text = format!("{}: once more with {}, which it can use", self.pin, packages.join(", "));
            session.report(Event::Note(text));
            let (name, source) = (&self.pin.name, &self.selection.sha256);
            let kept = KeptRequest::of(session, (name, &last.label), source).map_err(store_error(self.pin))?;
            session.layer_requests.add(name, &last.label, &packages);
            match self.attempt_once(as_of).await {
                Ok(attempted) => last = attempted,
                Err(error) => {
                    kept.restore(session).map_err(store_error(self.pin))?;
                    if error.is_cancelled() {
                        return Err(error);
                    }
                    // What was asked for is there; nobody asked for these.
                    let text =
                        format!("{}: it stays without {}: {}", self.pin, packages.join(", "), with_causes(&error));
                    session.report(Event::Warning(text));
                    break;
                }
            }
        }
        Ok(last.obtained)
    }
}
