//! Signals that stop a command.

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::signal::unix::{SignalKind, signal};

use super::output::note;

/// The exit status of a command that Ctrl-C has stopped: 128 and the number of SIGINT, as in a shell.
pub const INTERRUPTED: u8 = 130;

/// Resolves when the user asks the command to stop: it completes the work in progress and starts no more.
pub type Stop = Shared<BoxFuture<'static, ()>>;

/// A [`Stop`] that resolves when `signal` does.
pub fn stop_at(signal: impl Future<Output = ()> + Send + 'static) -> Stop {
    signal.boxed().shared()
}

/// A [`Stop`] that resolves at the first Ctrl-C, or SIGTERM. The second one ends the process immediately.
pub fn stop_on_signal() -> Stop {
    stop_at(async {
        stop_signal().await;
        note("stopping after the work in progress; press Ctrl-C again to stop immediately");
        tokio::spawn(async {
            stop_signal().await;
            std::process::exit(INTERRUPTED.into());
        });
    })
}

/// Waits for SIGINT (Ctrl-C) or SIGTERM, and returns the signal's number.
pub async fn stop_signal() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers, the signals end the process, and the emulator with it.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    }
}
