//! Progress on standard error, for a terminal or as plain lines for a log, and questions to the user.

use std::{
    io::{IsTerminal, Write as _, stderr, stdin},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    choice::Choice,
    output::{Verbosity, note, writes},
    text::{duration, remaining},
};
use local_stack::Progress;

/// The answer of the user to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Continue.
    Yes,
    /// Do not continue.
    No,
    /// The command does not run at a terminal, so the question was not asked.
    NotAsked,
}

/// The steps of a command on standard error. At a terminal, one line is updated; else one line is written at the start of
/// each step and at every tenth of it.
pub struct Terminal {
    is_terminal: bool,
    current: Mutex<Option<Step>>,
}

struct Step {
    name: String,
    started: Instant,
    bar: ProgressBar,
    tenths: f32,
}

impl Terminal {
    /// Detects whether standard error is a terminal.
    #[must_use]
    pub fn new() -> Self {
        Self { is_terminal: stderr().is_terminal(), current: Mutex::new(None) }
    }

    /// Completes the current step.
    pub fn done(&self) {
        if let Some(step) = self.current().take() {
            self.end(&step);
        }
    }

    /// Removes the current step, which will not be completed.
    pub fn abandon(&self) {
        if let Some(step) = self.current().take() {
            step.bar.finish_and_clear();
        }
    }

    /// Asks a question that is answered with yes or no, if the command runs at a terminal.
    pub async fn ask(&self, question: &str) -> Answer {
        self.done();
        if !self.is_terminal || !stdin().is_terminal() {
            return Answer::NotAsked;
        }
        let _ = write!(stderr(), "{question} [y/N] ");
        let _ = stderr().flush();
        // On a separate thread, so that Ctrl-C is handled while the command waits for the answer.
        let line = tokio::task::spawn_blocking(|| stdin().lines().next());
        match line.await {
            Ok(Some(Ok(line))) if ["y", "yes"].contains(&line.trim().to_lowercase().as_str()) => Answer::Yes,
            _ => Answer::No,
        }
    }

    /// Asks what is to be done, if the command runs at a terminal. An answer that is not one of the options is asked for again.
    pub async fn choose(&self, question: &str) -> Choice {
        self.done();
        if !self.is_terminal || !stdin().is_terminal() {
            return Choice::NotAsked;
        }
        let mut question = question;
        loop {
            let _ = write!(stderr(), "{question} {} ", Choice::OPTIONS);
            let _ = stderr().flush();
            let line = tokio::task::spawn_blocking(|| stdin().lines().next());
            // At the end of the input, nothing is chosen.
            let Ok(Some(Ok(line))) = line.await else { return Choice::None };
            match Choice::parse(&line) {
                Some(choice) => return choice,
                None => question = "Enter a for all, f for what is free, or n for nothing:",
            }
        }
    }

    fn end(&self, step: &Step) {
        step.bar.finish_and_clear();
        if self.is_terminal {
            note(format_args!("✓ {} ({:.1} s)", step.name, step.started.elapsed().as_secs_f32()));
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
        let bar = if self.is_terminal && writes(Verbosity::Normal) {
            let bar = ProgressBar::new_spinner().with_style(style(SPINNER));
            bar.set_prefix(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            note(what);
            ProgressBar::hidden()
        };
        *self.current() = Some(Step { name: what.to_owned(), started: Instant::now(), bar, tenths: 0.0 });
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
        if self.is_terminal {
            let left = remaining(step.started.elapsed(), done).map(|left| format!("about {} left", duration(left)));
            step.bar.set_message(left.unwrap_or_default());
        }
        let tenths = (percent / 10.0).floor();
        if tenths > step.tenths {
            step.tenths = tenths;
            if !self.is_terminal {
                let left =
                    remaining(step.started.elapsed(), done).map(|left| format!(", about {} left", duration(left)));
                note(format_args!("{} {percent:.0} %{}", step.name, left.unwrap_or_default()));
            }
        }
    }
}

/// The style of a step with unknown progress.
const SPINNER: &str = "{spinner} {prefix} {wide_msg:.dim}";

/// The style of a step with known progress.
const BAR: &str = "{spinner} {prefix} {bar:30} {percent} % {wide_msg:.dim}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indicatif_accepts_the_templates() {
        assert!(ProgressStyle::with_template(SPINNER).is_ok());
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
