//! Reports about the progress of the workflow.

/// Receives reports while the workflow is set up and runs.
pub trait Progress: Send + Sync {
    /// A step starts, and the previous one is done. `what` is a phrase such as "Setting up the emulator".
    fn step(&self, what: &str);
    /// A detail of the current step in a few words, such as the crate that is compiled or a number of pages.
    fn detail(&self, text: &str);
    /// The fraction of the current step that is done, from 0.0 to 1.0.
    fn ratio(&self, done: f32);
}

/// Discards all reports.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}
    fn detail(&self, _text: &str) {}
    fn ratio(&self, _done: f32) {}
}
