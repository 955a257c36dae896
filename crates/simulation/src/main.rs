//! Plays the workflow in virtual time: searches for seeds that break a rule, or replays one.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use simulation::{Batch, Limits, Story, run};

/// Plays the workflow in virtual time, with faults.
#[derive(Parser)]
enum Simulate {
    /// Plays new seeds until one breaks a rule: prints it and exits with status 1.
    Search {
        /// How many seeds to play.
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Begin no further seed after so many minutes.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// The first seed; the others follow it in order. Without it, the search begins at a random seed.
        #[arg(long)]
        from: Option<u64>,
    },
    /// Plays one seed and prints every event of it.
    Replay {
        /// The seed.
        seed: u64,
    },
}

fn main() -> ExitCode {
    match Simulate::parse() {
        Simulate::Search { count, minutes, from } => search(count, minutes, from),
        Simulate::Replay { seed } => replay(seed),
    }
}

fn search(count: u64, minutes: u64, from: Option<u64>) -> ExitCode {
    let began = Instant::now();
    // Seeds from the whole range: two searches do not play the same ones.
    let from = from.unwrap_or_else(|| fastrand::u64(..));
    println!("seeds from {from}: {count} at most, for {minutes} min at most");
    let until = Some(began + Duration::from_secs(60 * minutes));
    let seeds = (0..count).map(|index| from.wrapping_add(index));
    let batch = Batch::play(seeds, Limits { until, first_failure: true });
    println!("{} seeds played in {} s", batch.played, began.elapsed().as_secs());
    for (seed, violations) in &batch.failures {
        println!("seed {seed} breaks a rule: {}", violations.join("; "));
        println!("  to see every event: cargo run -p simulation -- replay {seed}");
    }
    if batch.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64) -> ExitCode {
    let story = Story::generate(seed);
    let run = run(&story);
    println!("{story:#?}\n{}\n{:#?}", run.told, run.met);
    for violation in &run.violations {
        println!("seed {seed} breaks a rule: {violation}");
    }
    if run.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
