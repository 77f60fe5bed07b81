//! One file a command.

mod build;
mod bundle;
mod config;
mod detach;
mod diagnose;
mod diff;
mod doctor;
mod du;
mod fetch;
mod gc;
mod generations;
mod graph;
mod index;
pub(crate) mod install;
mod lock;
mod log;
mod manual;
mod optimise;
pub(crate) mod pip;
mod realize;
mod roots;
pub(crate) mod rounds;
mod session;
mod show;
mod status;
mod sysdeps;
mod target;
mod unbundle;
mod verify;
mod why;
mod why_rebuild;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use clap::CommandFactory;
use pip_accel_builder::CancelToken;
use pip_accel_builder::realize::Interrupts;
use pip_accel_store::{Access, Clock, Durability, Interrupt, OpenError, OpenOptions, Protect, Store};

use crate::args::{Cli, Command, GlobalArgs};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::host::Host;
use crate::settings::{Settings, Value};
use crate::ui::Ui;

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) ui: Ui,
    pub(crate) host: Host,
    pub(crate) global: &'a GlobalArgs,
    /// The settings of files and environment, if they could be read.
    pub(crate) settings: Option<Settings>,
    /// Warnings that were said.
    pub(crate) told: RefCell<BTreeSet<String>>,
}

impl Context<'_> {
    /// The settings of files, environment and global flags.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = match &self.settings {
            Some(settings) => settings.clone(),
            // Once more, for the reason.
            None => Settings::read(&self.host, self.global.config.as_deref())?,
        };
        for text in settings.without_effect() {
            self.warn_once(text);
        }
        let store = self.global.store.as_ref().map(|path| Value::Text(path.to_string_lossy().into_owned()));
        settings.set("store", store);
        Ok(settings)
    }

    /// A warning that is said once, whatever comes upon it how often; whether it is said now.
    pub(crate) fn warn_once(&self, text: &str) -> bool {
        let is_new = self.told.borrow_mut().insert(text.to_owned());
        if is_new {
            self.ui.warn(text);
        }
        is_new
    }

    /// Opens the store; a command that only looks opens a store that can't be written as well.
    pub(crate) fn open(&self, settings: &Settings, access: Access) -> Result<Arc<Store>, Failure> {
        let store = Store::open(self.store_options(settings, access)?)?;
        Ok(Arc::new(self.with_lower_stores(store, settings)))
    }

    /// Has the lower stores of the settings read beside the own one. One that can't be is no reason to stop: what it has
    /// can be had elsewhere.
    fn with_lower_stores(&self, mut store: Store, settings: &Settings) -> Store {
        for path in settings.lower_stores(&self.host) {
            let Err(error) = store.add_lower(&path) else { continue };
            let failure = Failure::from(error);
            let text = format!("the lower store `{}` is not read: {}", path.display(), failure.message());
            // A command may open the store twice.
            if self.warn_once(&text)
                && let Some(remedy) = failure.remedy()
            {
                self.ui.hint(remedy);
            }
        }
        store
    }

    /// Opens the store for writing, or, where that is refused, for reading: enough for who finds nothing to do.
    pub(crate) fn open_as_allowed(&self, settings: &Settings) -> Result<Arc<Store>, Failure> {
        match Store::open(self.store_options(settings, Access::ReadWrite)?) {
            Err(OpenError::NotWritable { .. }) => self.open(settings, Access::ReadOnly),
            opened => Ok(Arc::new(self.with_lower_stores(opened?, settings))),
        }
    }

    /// Does what takes long in `store`; `^C` and SIGTERM end it in order, and the process with code 130.
    pub(crate) fn interruptible<T>(
        &self,
        store: &Store,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.interruptible_by(store.interrupt(), work)
    }

    /// The same for work that looks at `interrupt`.
    pub(crate) fn interruptible_by<T>(
        &self,
        interrupt: &Interrupt,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let cancel = CancelToken::with(interrupt);
        let _interrupts = Interrupts::start(&cancel)
            .map_err(|error| Failure::new(Exit::Error, format!("signals can't be heard: {error}")))?;
        work().map_err(|failure| if cancel.is_interrupted() { failure.interrupted() } else { failure })
    }

    /// Where the time comes from.
    pub(crate) fn clock(&self) -> Clock {
        self.host.now.map_or(Clock::System, Clock::Fixed)
    }

    /// How the settings say that the store is to be opened.
    pub(crate) fn store_options(&self, settings: &Settings, access: Access) -> Result<OpenOptions, Failure> {
        let durability = match settings.text("durability") {
            Some("none") => Durability::None,
            _ => Durability::Full,
        };
        let clock = self.clock();
        let protect = match settings.text("protect") {
            Some("immutable") => Protect::Immutable,
            Some("none") => Protect::None,
            _ => Protect::Auto,
        };
        Ok(OpenOptions { root: settings.store(&self.host)?, access, durability, protect, clock })
    }
}

/// Runs a command.
pub(crate) fn run(context: &Context<'_>, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Realize(args) => realize::run(context, args),
        // Its words are read before: they are pip's.
        Command::Install(_) => Ok(Exit::Done),
        Command::Lock(args) => lock::run(context, args),
        Command::Fetch(args) => fetch::run(context, args),
        Command::Build(args) => build::run(context, args),
        Command::Log(args) => log::run(context, args),
        Command::Diagnose(args) => diagnose::run(context, args),
        Command::Sysdeps(args) => sysdeps::run(context, args),
        Command::Index(args) => index::run(context, args),
        Command::Show(args) => show::run(context, args),
        Command::Why(args) => why::run(context, args),
        Command::WhyRebuild(args) => why_rebuild::run(context, args),
        Command::Graph(args) => graph::run(context, args),
        Command::Du(args) => du::run(context, args),
        Command::Detach(args) => detach::run(context, args),
        Command::Status(args) => status::run(context, args),
        Command::Generations(args) => generations::list(context, args),
        Command::Rollback(args) => generations::roll_back(context, args),
        Command::Diff(args) => diff::run(context, args),
        Command::Roots(args) => roots::run(context, args),
        Command::Gc(args) => gc::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Optimise => optimise::run(context),
        Command::Bundle(args) => bundle::run(context, args),
        Command::Unbundle(args) => unbundle::run(context, args),
        Command::Config(args) => config::run(context, args),
        Command::Doctor(args) => doctor::run(context, args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "pip-accel", &mut script);
            context.ui.text(String::from_utf8_lossy(&script).trim_end());
            Ok(Exit::Done)
        }
        Command::Man { directory } => manual::run(context, directory),
    }
}
