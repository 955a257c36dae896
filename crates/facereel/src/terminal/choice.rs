//! The answer to a question about work of which a part is billed.

/// What the user chooses to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Everything, including what is billed.
    All,
    /// Only what is free.
    Free,
    /// Nothing.
    None,
    /// The command does not run at a terminal, so the question was not asked.
    NotAsked,
}

impl Choice {
    /// The options, as they are shown after the question. The capital letter is the default.
    pub(super) const OPTIONS: &'static str = "[a/f/N]";

    /// Reads an answer. `None`, if it is not one of the options.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        match answer.trim().to_lowercase().as_str() {
            "a" | "all" => Some(Self::All),
            "f" | "free" => Some(Self::Free),
            "" | "n" | "no" | "none" => Some(Self::None),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_and_no_both_mean_nothing() {
        for answer in ["", "\n", "n", "N\n", "no", "NONE"] {
            assert_eq!(Choice::parse(answer), Some(Choice::None), "{answer:?}");
        }
    }

    #[test]
    fn only_a_word_of_the_question_is_an_answer() {
        assert_eq!(
            ["a", " All\r\n", "f", "FREE"].map(Choice::parse),
            [Some(Choice::All), Some(Choice::All), Some(Choice::Free), Some(Choice::Free)]
        );
        // It is not clear what a "yes" agrees to.
        for answer in ["y", "yes", "af", "?"] {
            assert_eq!(Choice::parse(answer), None, "{answer}");
        }
    }
}
