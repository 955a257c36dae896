//! Input and output at the terminal, shared by all commands.

pub mod exit;
mod output;
mod progress;
mod stop;
pub(crate) mod text;

pub use output::{note, print};
pub use progress::{Answer, Terminal};
pub use stop::{Stop, stop_at, stop_on_signal, stop_signal};
