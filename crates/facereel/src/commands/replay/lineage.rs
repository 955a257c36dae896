//! The names of replacements: who replaces whom is written in the name, so that running twice starts nothing twice.
//!
//! Step Functions starts no second execution under a name for 90 days
//! (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>).

use sha2::{Digest, Sha256};

/// Between the name of what failed and the count of its replacements.
const REPLAY: &str = "-replay-";

/// An execution's name has at most 80 characters; this leaves room for [`REPLAY`] and any count.
const MAX_BASE: usize = 60;

/// An execution and those that replaced it, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lineage {
    base: String,
}

impl Lineage {
    /// The lineage that an execution's name belongs to, and its place there: 0 for the first, which replaced nobody.
    #[must_use]
    pub fn of(name: &str) -> (Self, u32) {
        if let Some((base, place)) = name.rsplit_once(REPLAY)
            && let Ok(place @ 1..) = place.parse()
        {
            return (Self { base: base.to_owned() }, place);
        }
        (Self { base: shortened(name) }, 0)
    }

    /// The name of the execution at this place, from 1.
    #[must_use]
    pub fn replacement(&self, place: u32) -> String {
        format!("{}{REPLAY}{place}", self.base)
    }
}

/// `EventBridge` names executions with 73 characters: cut, and still unlike any other.
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
    fn a_replacement_belongs_to_the_lineage_of_what_it_replaces() {
        for name in [
            "holiday",
            "6d2a9f4e-0c1b-4a57-9d0e-3a1f7c5b2e11_0f8e7d6c-5b4a-4392-8170-6f5e4d3c2b1a",
            "é".repeat(80).as_str(),
        ] {
            let (lineage, place) = Lineage::of(name);
            assert_eq!(place, 0);
            for place in [1, 2, 123_456_789] {
                let replacement = lineage.replacement(place);
                assert!(replacement.chars().count() <= 80, "{replacement}");
                assert_eq!(Lineage::of(&replacement), (lineage.clone(), place));
            }
        }
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart() {
        let (one, other) = (format!("{}1", "x".repeat(79)), format!("{}2", "x".repeat(79)));
        assert_ne!(Lineage::of(&one).0, Lineage::of(&other).0);
    }

    #[test]
    fn a_name_that_only_looks_like_a_replacements_is_none() {
        assert_eq!(Lineage::of("instant-replay-video").1, 0);
        assert_eq!(Lineage::of("x-replay-0").1, 0);
    }
}
