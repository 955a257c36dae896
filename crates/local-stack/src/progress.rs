//! What happens, told to whoever watches.

/// Is told what happens while the workflow is set up and runs.
pub trait Progress: Send + Sync {
    /// A new step begins; the one before it is done. `what` reads like "Setting up the emulator".
    fn step(&self, what: &str);
    /// What the step is at, in a few words: a crate that is compiled, a count of pages.
    fn detail(&self, text: &str);
    /// How much of the step is done, from 0.0 to 1.0.
    fn ratio(&self, done: f32);
}

/// Tells nobody: for tests.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}
    fn detail(&self, _text: &str) {}
    fn ratio(&self, _done: f32) {}
}
