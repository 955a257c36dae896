//! The names of replacements. The name of a replacement is derived from the name of the execution that it replaces, so that
//! running the command twice starts one replacement.
//!
//! For 90 days, Step Functions rejects a second execution with the same name
//! (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>).

use sha2::{Digest, Sha256};

/// The separator between the name of the failed execution and the number of the replacement.
const REPLAY: &str = "-replay-";

/// The maximum number of characters before [`REPLAY`]. A name has at most 80 characters, so this leaves room for
/// [`REPLAY`] and any number.
const MAX_BASE: usize = 60;

/// An execution and its successive replacements.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lineage {
    base: String,
}

impl Lineage {
    /// The lineage of the execution with this name, and its position in it: 0 for the original execution.
    #[must_use]
    pub fn of(name: &str) -> (Self, u32) {
        if let Some((base, position)) = name.rsplit_once(REPLAY)
            && let Ok(position @ 1..) = position.parse()
        {
            return (Self { base: base.to_owned() }, position);
        }
        (Self { base: shortened(name) }, 0)
    }

    /// The name of the replacement at this position, from 1.
    #[must_use]
    pub fn replacement(&self, position: u32) -> String {
        format!("{}{REPLAY}{position}", self.base)
    }
}

/// Shortens a long name and keeps it unique: `EventBridge` gives executions names of 73 characters.
fn shortened(name: &str) -> String {
    const HASH: usize = 12;
    if name.chars().count() <= MAX_BASE {
        return name.to_owned();
    }
    let start: String = name.chars().take(MAX_BASE - HASH - 1).collect();
    let hash = hex::encode(Sha256::digest(name));
    format!("{start}-{}", &hash[..HASH])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_has_the_lineage_of_the_execution_that_it_replaces() {
        for name in [
            "holiday",
            "6d2a9f4e-0c1b-4a57-9d0e-3a1f7c5b2e11_0f8e7d6c-5b4a-4392-8170-6f5e4d3c2b1a",
            "é".repeat(80).as_str(),
        ] {
            let (lineage, position) = Lineage::of(name);
            assert_eq!(position, 0);
            for position in [1, 2, 123_456_789] {
                let replacement = lineage.replacement(position);
                assert!(replacement.chars().count() <= 80, "{replacement}");
                assert_eq!(Lineage::of(&replacement), (lineage.clone(), position));
            }
        }
    }

    #[test]
    fn long_names_with_the_same_start_have_different_lineages() {
        let (one, other) = (format!("{}1", "x".repeat(79)), format!("{}2", "x".repeat(79)));
        assert_ne!(Lineage::of(&one).0, Lineage::of(&other).0);
    }

    #[test]
    fn a_name_that_only_resembles_a_replacement_is_an_original() {
        assert_eq!(Lineage::of("instant-replay-video").1, 0);
        assert_eq!(Lineage::of("x-replay-0").1, 0);
    }
}
