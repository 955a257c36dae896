//! The report: a table for people, and a document for an issue.

use std::fmt;

use comfy_table::{Table, presets};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::checks::{Outcome, Row};
use super::price::Price;
use crate::deployed::Deployed;
use crate::documents::document;
use crate::terminal::exit::{self, ExitStatus};
use crate::terminal::text::counted;

/// The results of the checks of a stack.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel verify --json`")]
pub struct VerifyReport {
    /// The version of the command.
    pub version: String,
    /// The Region of the stack.
    pub region: String,
    /// What Rekognition charges for the analyses, at most.
    pub price: Price,
    /// Whether the user has agreed to the price. Without it, nothing was checked.
    pub agreed: bool,
    /// Whether Ctrl-C has ended the checks.
    pub interrupted: bool,
    /// The checks, in order.
    pub checks: Vec<Row>,
    /// With `--facts`: what was observed.
    pub facts: Vec<Row>,
    /// What the command has made and could not remove, with the reason.
    pub not_removed: Vec<String>,
    /// Replaced by `<account>` wherever it is in a text.
    #[serde(skip)]
    pub(super) account: String,
    /// Whether the user was asked.
    #[serde(skip)]
    pub(super) asked: bool,
}

impl VerifyReport {
    /// A report without checks.
    pub(super) fn new(deployed: &Deployed, price: Price) -> Self {
        let state_machine = deployed.state_machine.to_string();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            region: deployed.state_machine.region().to_owned(),
            price,
            agreed: false,
            interrupted: false,
            checks: Vec::new(),
            facts: Vec::new(),
            not_removed: Vec::new(),
            account: state_machine.split(':').nth(4).unwrap_or_default().to_owned(),
            asked: true,
        }
    }

    /// Whether the checks were done, none failed or was skipped, and everything that was made is removed.
    #[must_use]
    pub fn all_well(&self) -> bool {
        let bad = [Outcome::Failed, Outcome::Skipped];
        self.agreed
            && !self.interrupted
            && self.not_removed.is_empty()
            && !self.checks.iter().any(|row| bad.contains(&row.result))
            && !self.facts.iter().any(|row| row.result == Outcome::Failed)
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().chain(&self.facts).filter(|row| row.result == outcome).count()
    }
}

impl exit::Report for VerifyReport {
    fn exit_status(&self) -> ExitStatus {
        exit::status_of(self.interrupted, self.all_well())
    }

    /// Without the id of the account, because the document is made to be published.
    fn json(&self) -> Value {
        redacted(document(self), &self.account)
    }
}

/// The document without the id of the account in its texts.
fn redacted(document: Value, account: &str) -> Value {
    match document {
        Value::String(text) if !account.is_empty() => Value::String(text.replace(account, "<account>")),
        Value::Array(items) => items.into_iter().map(|item| redacted(item, account)).collect(),
        Value::Object(members) => members.into_iter().map(|(name, member)| (name, redacted(member, account))).collect(),
        other => other,
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.agreed {
            let hint = if self.asked { "" } else { ", because it would be billed. Agree with --yes" };
            return write!(f, "{}\nNothing was checked{hint}.", self.price);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["RESULT", "CHECK", "EXPECTED", "SEEN"]);
        for Row { check, expected, seen, result } in self.checks.iter().chain(&self.facts) {
            table.add_row([result.text(), check, expected, seen]);
        }
        writeln!(f, "{}\n", table.trim_fmt())?;
        let total = self.checks.len() + self.facts.len();
        write!(f, "{}: {} passed", counted(total, "check"), self.count(Outcome::Passed))?;
        for outcome in [Outcome::Failed, Outcome::Skipped, Outcome::NotSupported, Outcome::Recorded] {
            match self.count(outcome) {
                0 => {}
                count => write!(f, ", {count} {}", outcome.text().to_lowercase())?,
            }
        }
        f.write_str(if self.interrupted { ". Stopped before the end." } else { "." })?;
        if self.not_removed.is_empty() {
            return f.write_str("\nEverything that was made for the checks is removed.");
        }
        write!(f, "\nNot removed; remove it yourself:")?;
        self.not_removed.iter().try_for_each(|what| write!(f, "\n  {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::exit::Report as _;
    use crate::terminal::exit::{FAILURE, INTERRUPTED, SUCCESS};

    fn report(results: &[Outcome]) -> VerifyReport {
        let row = |result: &Outcome| Row {
            check: "the upload rule".to_owned(),
            expected: "enabled".to_owned(),
            seen: "arn:aws:states:eu-west-1:123456789012:stateMachine:x".to_owned(),
            result: *result,
        };
        VerifyReport {
            version: "0.1.0".to_owned(),
            region: "eu-west-1".to_owned(),
            price: Price::of([std::time::Duration::from_secs(12)]),
            agreed: true,
            interrupted: false,
            checks: results.iter().map(row).collect(),
            facts: Vec::new(),
            not_removed: Vec::new(),
            account: "123456789012".to_owned(),
            asked: true,
        }
    }

    #[test]
    fn only_a_run_without_a_failure_succeeds() {
        use Outcome::{Failed, NotSupported, Passed, Recorded, Skipped};
        assert_eq!(report(&[Passed, NotSupported, Recorded]).exit_status(), SUCCESS);
        for results in [&[Passed, Failed][..], &[Passed, Skipped]] {
            assert_eq!(report(results).exit_status(), FAILURE, "{results:?}");
        }
        let mut left = report(&[Passed]);
        left.not_removed.push("the queue q: denied".to_owned());
        assert_eq!(left.exit_status(), FAILURE);
        assert!(left.to_string().ends_with("remove it yourself:\n  the queue q: denied"), "{left}");
        let mut stopped = report(&[Passed]);
        stopped.interrupted = true;
        assert_eq!(stopped.exit_status(), INTERRUPTED);
    }

    #[test]
    fn a_check_that_is_not_supported_does_not_count_as_passed() {
        let text = report(&[Outcome::Passed, Outcome::NotSupported, Outcome::Failed]).to_string();
        assert!(text.contains("3 checks: 1 passed, 1 failed, 1 not supported here."), "{text}");
    }

    #[test]
    fn the_document_does_not_contain_the_account() {
        let document = report(&[Outcome::Passed]).json();
        assert_eq!(document["checks"][0]["seen"], "arn:aws:states:eu-west-1:<account>:stateMachine:x");
        assert!(!document.to_string().contains("123456789012"), "{document}");
    }

    #[test]
    fn without_an_agreement_the_report_says_how_to_agree() {
        let mut refused = report(&[]);
        (refused.agreed, refused.asked) = (false, false);
        assert!(refused.to_string().ends_with("Agree with --yes."), "{refused}");
        assert_eq!(refused.exit_status(), FAILURE);
        refused.asked = true;
        assert!(refused.to_string().ends_with("Nothing was checked."), "{refused}");
    }
}
