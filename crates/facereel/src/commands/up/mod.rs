//! `facereel up`: the local stack stays up, and every upload to it starts an execution.

mod executions;
mod guide;

use std::path::PathBuf;

use local_stack::{Emulator, Error};

use crate::commands::local;
use crate::terminal::{Terminal, print};
use executions::Watch;
use guide::Guide;

/// Keep the local stack running: a stack to upload to with the AWS CLI, an SDK or `facereel upload`, without an AWS account.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel up                                      on a free port; prints the commands to use with it
  facereel up --port 4566                          on this port

Everything is removed when the command ends: buckets, executions and processes. It listens on 127.0.0.1 only.")]
pub struct Up {
    /// The port of the endpoint on 127.0.0.1 [default: any free one].
    #[arg(long, default_value_t, hide_default_value = true)]
    port: u16,
}

/// Why the local stack does not stay up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The workflow could not run on this machine.
    #[error(transparent)]
    Local(#[from] Error),
    /// The emulator does not answer any more.
    #[error("{source}; the local stack is stopped, and the emulator's log is kept in {}", log.display())]
    Stopped {
        /// The failed call.
        source: Error,
        /// The path of the emulator's log.
        log: PathBuf,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl Up {
    /// Starts the local stack, prints how to use it, and then a line for each execution that starts or ends, until the future
    /// is dropped. Then every process of the stack ends.
    ///
    /// # Errors
    /// [`UpError`].
    pub async fn run(&self, terminal: &Terminal) -> Result<(), UpError> {
        // The set-up can take minutes.
        Emulator::check_port(self.port)?;
        let mut workflow = local::start(terminal, |options| options.port = self.port).await?;
        terminal.done();
        print(&Guide::of(&workflow)?.to_string()).map_err(UpError::Output)?;
        let mut watch = Watch::default();
        loop {
            match watch.changes(&workflow.executions).await {
                Ok(lines) => lines.iter().try_for_each(|line| print(line)).map_err(UpError::Output)?,
                Err(source) => {
                    workflow.emulator.keep_log();
                    return Err(UpError::Stopped { source, log: workflow.emulator.log() });
                }
            }
            tokio::time::sleep(executions::POLL_INTERVAL).await;
        }
    }
}
