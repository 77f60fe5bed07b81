//! Events of a run → progress bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pip_accel_builder::event::{BuildEnd, Event, Reporter};
use pip_accel_builder::realize::pin::is_unknown_version;
use pip_accel_schema::name::{PackageName, PackageVersion};

use super::{Ui, bytes, counted, number_of, printable, seconds};

/// Shows what happens.
#[derive(Debug)]
pub(crate) struct Progress {
    ui: Ui,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: Option<ProgressBar>,
    running: HashMap<String, ProgressBar>,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

/// `demo==1.0`, or the name alone where the version is known only after the build.
fn release(name: &PackageName, version: &PackageVersion) -> String {
    if is_unknown_version(version) { name.to_string() } else { format!("{name}=={version}") }
}

impl Progress {
    /// A reporter for `ui`; nothing is drawn before the first event that takes time.
    #[must_use]
    pub(crate) fn new(ui: Ui) -> Self {
        let target = if ui.terminal && ui.quiet == 0 && !ui.json {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { ui, bars: MultiProgress::with_draw_target(target), state: Mutex::default() }
    }

    /// Removes the bars; what is said afterwards stands on clean lines.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::default();
        drop(self.bars.clear());
    }

    fn line(&self, line: &str) {
        if self.ui.quiet == 0 {
            self.bars.suspend(|| self.ui.talk(line));
        }
    }

    fn start(&self, state: &mut State, key: String, bar: ProgressBar) {
        let bar = self.bars.add(bar);
        bar.set_message(key.clone());
        state.running.insert(key, bar);
    }

    fn collected(&self, objects: usize, freed_bytes: u64, missing_bytes: u64) {
        let freed = bytes(freed_bytes);
        let (what, are) = (counted(objects, "object"), number_of(objects as u64, "is", "are"));
        self.line(&format!("the disk gets full: {what} that nothing needs {are} deleted, {freed} freed"));
        if missing_bytes > 0 {
            let wanted = bytes(missing_bytes);
            self.bars.suspend(|| self.ui.warn(&format!("still less than {wanted} (min-free) of the disk is free")));
        }
    }

    fn build_ended(&self, state: &mut State, label: &str, (end, time): (BuildEnd, &str)) {
        if let Some(bar) = state.running.remove(label) {
            bar.finish_and_clear();
        }
        self.line(&match end {
            BuildEnd::Built => format!("built {label} in {time}"),
            BuildEnd::Failed => format!("failed to build {label} in {time}"),
            BuildEnd::Stopped => format!("interrupted: building {label}, after {time}"),
        });
    }

    fn planned(&self, state: &mut State, packages: usize, in_store: usize) {
        if packages > in_store {
            let bar = self.bars.add(ProgressBar::new(packages as u64));
            bar.set_style(style("{msg:10} {bar:30} {pos}/{len}"));
            bar.set_message("packages");
            bar.set_position(in_store as u64);
            state.total = Some(bar);
        }
    }
}

impl Reporter for Progress {
    fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Planned { packages, in_store } => self.planned(&mut state, packages, in_store),
            Event::FetchStarted { file_name, size_bytes } => {
                let bar = match size_bytes {
                    Some(size) => ProgressBar::new(size).with_style(style("  {bar:30} {bytes}/{total_bytes} {msg}")),
                    None => ProgressBar::new_spinner().with_style(style("  {spinner} {bytes} {msg}")),
                };
                self.start(&mut state, file_name, bar);
            }
            Event::FetchProgress { file_name, bytes } => {
                if let Some(bar) = state.running.get(&file_name) {
                    bar.inc(bytes);
                }
            }
            Event::Fetched { file_name } => {
                if let Some(bar) = state.running.remove(&file_name) {
                    bar.finish_and_clear();
                }
                if !self.ui.terminal {
                    self.line(&format!("fetched {file_name}"));
                }
            }
            Event::Collected { objects, freed_bytes, missing_bytes } => {
                self.collected(objects, freed_bytes, missing_bytes)
            }
            Event::BuildStarted { name, version } => {
                let bar = ProgressBar::new_spinner().with_style(style("  {spinner} building {msg} {elapsed}"));
                bar.enable_steady_tick(std::time::Duration::from_millis(200));
                let label = release(&name, &version);
                if !self.ui.terminal {
                    self.line(&format!("building {label}"));
                }
                self.start(&mut state, label, bar);
            }
            Event::BuildOutput { name, line } => {
                if self.ui.verbose > 0 {
                    let line = if std::io::stderr().is_terminal() { printable::line(&line) } else { line };
                    // A progress bar becomes several lines; each says whose it is.
                    for line in line.split('\n') {
                        self.line(&format!("{name}: {line}"));
                    }
                }
            }
            Event::BuildFinished { name, version, duration, end } => {
                self.build_ended(&mut state, &release(&name, &version), (end, seconds(duration).as_str()));
            }
            Event::Stored { .. } => {
                if let Some(bar) = &state.total {
                    bar.inc(1);
                }
            }
            Event::Linking { packages } => {
                if let Some(bar) = state.total.take() {
                    bar.finish_and_clear();
                    if self.ui.verbose > 0 {
                        self.line(&format!("linking {}", counted(packages, "package")));
                    }
                }
            }
            Event::Waiting { what } => self.line(&format!("waiting for {what}")),
            Event::Note(text) => self.line(&text),
            Event::Warning(text) => self.bars.suspend(|| self.ui.warn(&text)),
        }
    }
}
