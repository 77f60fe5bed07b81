//! Named points of the protocols, at which tests stop a process to kill it or to race against it.
//!
//! Without the feature `testing` this is an empty type and a call that does nothing.

/// What is called at the checkpoints of every store of this process.
#[cfg(any(test, feature = "testing"))]
static EVERYWHERE: std::sync::OnceLock<Hook> = std::sync::OnceLock::new();

/// Announces that the checkpoint `name` is reached, by an operation that is not one of the store alone.
/// Does nothing in a released program.
#[inline]
pub fn checkpoint(name: &'static str) {
    Checkpoints::default().reach(name);
}

/// Calls `hook` with the name of each checkpoint that this process reaches from now on; only the first call counts.
#[cfg(any(test, feature = "testing"))]
pub fn set_hook(hook: Hook) {
    drop(EVERYWHERE.set(hook));
}

/// Called with the name of each checkpoint that is reached.
#[cfg(any(test, feature = "testing"))]
pub type Hook = std::sync::Arc<dyn Fn(&str) + Send + Sync>;

/// What happens at the checkpoints of one store.
#[derive(Clone, Default)]
pub(crate) struct Checkpoints {
    #[cfg(any(test, feature = "testing"))]
    hook: Option<Hook>,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Checkpoints")
    }
}

#[cfg(not(any(test, feature = "testing")))]
impl Checkpoints {
    /// Does nothing.
    #[inline]
    pub(crate) fn reach(&self, _name: &'static str) {}
}

#[cfg(any(test, feature = "testing"))]
impl Checkpoints {
    /// Calls `hook` with the name of each checkpoint that is reached.
    pub(crate) fn with_hook(hook: Hook) -> Self {
        Self { hook: Some(hook) }
    }

    /// Announces that the checkpoint `name` is reached.
    pub(crate) fn reach(&self, name: &'static str) {
        for hook in self.hook.iter().chain(EVERYWHERE.get()) {
            hook(name);
        }
    }
}

/// Parks the process for good at the checkpoint `name`, after the line `checkpoint <name>` on its standard error:
/// whoever reads that line may kill it.
#[cfg(any(test, feature = "testing"))]
pub fn park_at(name: String) -> Hook {
    use std::io::Write;
    std::sync::Arc::new(move |reached| {
        if reached == name {
            let mut stderr = std::io::stderr().lock();
            drop(writeln!(stderr, "checkpoint {reached}").and_then(|()| stderr.flush()));
            drop(stderr);
            loop {
                std::thread::park();
            }
        }
    })
}
