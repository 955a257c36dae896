//! `facereel verify`: proves that a deployed stack works, with a video whose faces are known.
//!
//! Each check is a row: what was expected and what was seen. Everything that the checks make is registered with [`Cleanup`]
//! before it is made, and removed at the end, after a failure and after Ctrl-C as well.

mod checks;
mod cleanup;
mod clips;
mod contract;
mod executions;
mod facts;
mod logs;
mod mailbox;
mod price;
mod report;
mod results;
mod rule;
mod score;
mod session;

use std::time::{Duration, SystemTime};

pub use checks::{Outcome, Row};
pub use price::Price;
pub use report::VerifyReport;
pub use score::{FoundFace, Picture, Score};

use crate::deployed::{Deployed, Error, UploadRule};
use crate::terminal::{Answer, Stop, text::parse_duration};
use checks::Board;
use cleanup::Cleanup;
use executions::TaskTokens;
use local_stack::Progress;
use session::Session;

/// The longest key of a video whose results have a folder that no other video has.
const MAX_KEY_BYTES: usize = 800;

/// Check that a deployed stack works, with a video whose faces are known, for about two cents.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel verify                       asks before anything is billed
  facereel verify --yes --json          for an issue; without the id of the account
  facereel verify --facts               also how AWS behaves where its documentation leaves it open")]
pub struct Verify {
    /// Also record how AWS behaves where its documentation leaves an answer open. This costs some more cents.
    #[arg(long)]
    facts: bool,
    /// Do not ask before analyses that are billed.
    #[arg(long)]
    yes: bool,
    /// How long a check may take. An execution waits while all job slots of the account are used.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_duration)]
    timeout: Duration,
}

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The rule matches only keys with a prefix that leaves no room for a unique key.
    #[error(
        "the upload rule {rule} matches only keys with a prefix of {bytes} bytes; verify needs one of at most {MAX_KEY_BYTES} bytes: deploy a shorter prefix in upload_prefixes"
    )]
    PrefixTooLong {
        /// The name of the rule.
        rule: String,
        /// The length of its prefix in bytes.
        bytes: usize,
    },
    /// A call to AWS failed.
    #[error(transparent)]
    Aws(#[from] Error),
}

impl Verify {
    /// Checks the stack, and removes everything that was made for it. When `stop` resolves, no further check is made. `ask` is
    /// called before anything is billed.
    ///
    /// # Errors
    /// [`VerifyError`]; then nothing was made. A check that fails is in the report.
    pub async fn run(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        ask: impl AsyncFnOnce(&str) -> Answer,
        stop: Stop,
    ) -> Result<VerifyReport, VerifyError> {
        progress.step("Looking for the upload rule");
        let rules = deployed.upload_rules().await?;
        let rule = rules[0].clone();
        let results_bucket = deployed.results_bucket().await?;
        let run = run_id(SystemTime::now());
        let folder = format!("{}facereel-verify/{run}/", rule.prefix());
        if folder.len() > MAX_KEY_BYTES {
            return Err(VerifyError::PrefixTooLong { bytes: rule.prefix().len(), rule: rule.name });
        }
        let mut report = VerifyReport::new(deployed, self.price());
        if !self.yes {
            let question = question(&report.price, &rule);
            let answer = tokio::select! {
                answer = ask(&question) => answer,
                () = stop.clone() => {
                    report.interrupted = true;
                    Answer::No
                }
            };
            report.asked = answer != Answer::NotAsked;
            if answer != Answer::Yes {
                return Ok(report);
            }
        }
        report.agreed = true;
        let cleanup = Cleanup {
            upload_bucket: rule.bucket.clone(),
            results_bucket: results_bucket.clone(),
            folder,
            ..Cleanup::default()
        };
        let mut session = Session {
            deployed,
            progress,
            timeout: self.timeout,
            name: format!("facereel-verify-{run}"),
            since: SystemTime::now(),
            rule,
            rules,
            results_bucket,
            board: Board::default(),
            facts: Vec::new(),
            tokens: TaskTokens::default(),
            cleanup,
        };
        tokio::select! {
            () = session.check(self.facts) => {}
            () = stop => report.interrupted = true,
        }
        progress.step("Removing what was made for the checks");
        report.not_removed = session.cleanup.run(deployed).await;
        report.checks = session.board.rows();
        report.facts = session.facts;
        Ok(report)
    }

    /// The price of all jobs, also of those that Rekognition should find to be paid for.
    fn price(&self) -> Price {
        let [sample, short, hevc] = [clips::SAMPLE, clips::SHORT, clips::HEVC].map(|clip| clip.duration);
        let checks = vec![sample, short];
        // Two more starts of the job of the sample clip, the turned sample clip, and two short videos.
        let facts = if self.facts { vec![sample, sample, sample, short, hevc] } else { Vec::new() };
        Price::of(checks.into_iter().chain(facts))
    }
}

fn question(price: &Price, rule: &UploadRule) -> String {
    format!(
        "{price}.\nVideos are uploaded below s3://{}/{}facereel-verify/, and removed with their results at the end. Consumers of results receive their events. One execution fails on purpose and is then redriven: the alarm for failed executions can go off.\nCheck the stack?",
        rule.bucket,
        rule.prefix()
    )
}

/// A name that no other run has: the time, and a random number.
fn run_id(now: SystemTime) -> String {
    let random = aws_smithy_types::date_time::DateTime::from(now).subsec_nanos() ^ std::process::id().rotate_left(16);
    let time = humantime::format_rfc3339_seconds(now).to_string().replace([':', '-'], "");
    format!("{}-{random:08x}", time.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_run_is_allowed_in_every_name() {
        let id = run_id(SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123));
        assert!(id.starts_with("20251124T160000-") && id.len() == 24, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{id}");
    }
}
