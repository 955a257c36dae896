//! `facereel completions`: a completion script for a shell.

use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  facereel completions bash > ~/.local/share/bash-completion/completions/facereel
  facereel completions zsh  > ~/.zfunc/_facereel       with `fpath+=~/.zfunc` in ~/.zshrc before compinit
  facereel completions fish > ~/.config/fish/completions/facereel.fish";

/// Write a completion script for a shell to standard output.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// The completion script for the command line `facereel`.
    #[must_use]
    pub fn script(&self, mut facereel: clap::Command) -> String {
        // `generate` panics if it cannot write; a write to memory does not fail.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut facereel, "facereel", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}
