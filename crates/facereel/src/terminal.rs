//! Progress for a person at a terminal, or as plain lines for a log; and output that does not panic.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write as _, stderr, stdin, stdout},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use local_stack::Progress;

/// Writes to standard output. A closed pipe is not an error: its reader, such as `head`, needs no more.
///
/// # Errors
/// Any other error of the system, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a line to standard error. An error is ignored, because there is no other place to report it.
pub fn note(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}

/// The answer of a person to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Stop here.
    No,
    /// The command does not run at a terminal, so that the question was not asked.
    NotAsked,
}

/// Steps on standard error: a line that moves where that is a terminal, else a line a step and one every tenth of it.
pub struct Terminal {
    moving: bool,
    current: Mutex<Option<Step>>,
}

struct Step {
    what: String,
    since: Instant,
    bar: ProgressBar,
    tenths: f32,
}

impl Terminal {
    /// Looks at what standard error is.
    #[must_use]
    pub fn new() -> Self {
        Self { moving: stderr().is_terminal(), current: Mutex::new(None) }
    }

    /// The last step is done.
    pub fn done(&self) {
        if let Some(step) = self.current().take() {
            self.end(&step);
        }
    }

    /// The last step will not be done.
    pub fn abandon(&self) {
        if let Some(step) = self.current().take() {
            step.bar.finish_and_clear();
        }
    }

    /// Asks a question that is answered with yes or no, if there is somebody to ask.
    pub async fn ask(&self, question: &str) -> Answer {
        self.done();
        if !self.moving || !stdin().is_terminal() {
            return Answer::NotAsked;
        }
        let _ = write!(stderr(), "{question} [y/N] ");
        let _ = stderr().flush();
        // On a thread of its own: a person may think, and Ctrl-C is heard meanwhile.
        let line = tokio::task::spawn_blocking(|| stdin().lines().next());
        match line.await {
            Ok(Some(Ok(line))) if ["y", "yes"].contains(&line.trim().to_lowercase().as_str()) => Answer::Yes,
            _ => Answer::No,
        }
    }

    fn end(&self, step: &Step) {
        step.bar.finish_and_clear();
        if self.moving {
            note(format_args!("✓ {} ({:.1} s)", step.what, step.since.elapsed().as_secs_f32()));
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Step>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Terminal {
    fn step(&self, what: &str) {
        self.done();
        let bar = if self.moving {
            let bar = ProgressBar::new_spinner().with_style(style(SPINNER));
            bar.set_prefix(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            note(what);
            ProgressBar::hidden()
        };
        *self.current() = Some(Step { what: what.to_owned(), since: Instant::now(), bar, tenths: 0.0 });
    }

    fn detail(&self, text: &str) {
        if let Some(step) = self.current().as_ref() {
            step.bar.set_message(text.to_owned());
        }
    }

    fn ratio(&self, done: f32) {
        let mut current = self.current();
        let Some(step) = current.as_mut() else { return };
        let percent = (done * 100.0).clamp(0.0, 100.0);
        if step.bar.length().is_none() {
            step.bar.set_length(100);
            step.bar.set_style(style(BAR));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        step.bar.set_position(percent as u64);
        let tenths = (percent / 10.0).floor();
        if tenths > step.tenths {
            step.tenths = tenths;
            if !self.moving {
                note(format_args!("{} {percent:.0} %", step.what));
            }
        }
    }
}

/// A step whose end is not in sight.
const SPINNER: &str = "{spinner} {prefix} {wide_msg:.dim}";

/// A step of which so much is done.
const BAR: &str = "{spinner} {prefix} {bar:30} {percent} % {wide_msg:.dim}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_such_that_indicatif_knows() {
        assert!(ProgressStyle::with_template(SPINNER).is_ok());
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
