//! Input and output at the terminal, shared by all commands.

mod choice;
pub mod exit;
mod output;
mod progress;
mod stop;
pub(crate) mod text;
pub mod time;

pub use choice::Choice;
pub(crate) use output::detail;
pub use output::{Verbosity, note, print, print_error, set_verbosity};
pub use progress::{Answer, Terminal};
pub use stop::{Stop, stop_at, stop_on_signal, stop_signal};
