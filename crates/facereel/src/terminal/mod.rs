//! Input and output at the terminal, shared by all commands.

pub mod exit;
mod output;
mod progress;
mod stop;
pub(crate) mod text;

pub(crate) use output::detail;
pub use output::{Verbosity, note, print, print_error, set_verbosity};
pub use progress::{Answer, Terminal};
pub use stop::{Stop, stop_at, stop_on_signal, stop_signal};
