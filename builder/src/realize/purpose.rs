//! What a run of the engine is for.

/// Whether sdists are built or only made ready to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Trees of everything.
    Build,
    /// Trees of wheels; of sdists the source and the trees of their build requirements.
    Fetch,
    /// The same, with build requirements resolved anew where no lock fixes them.
    FetchAnew,
}
