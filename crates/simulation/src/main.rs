//! Runs the workflow in virtual time: searches for seeds that break a rule, or replays one.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use simulation::{Batch, Limits, Scenario, run};

/// Run the workflow in virtual time, with faults.
#[derive(Parser)]
enum Simulate {
    /// Run new seeds until one breaks a rule: print it and exit with status 1.
    Search {
        /// Maximum number of seeds to run.
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Start no further seed after this many minutes.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// First seed; the others follow it in order. The default is a random seed.
        #[arg(long)]
        from: Option<u64>,
        /// Run every seed, also after one has broken a rule.
        #[arg(long)]
        keep_going: bool,
    },
    /// Run one seed and print its scenario, every event, the coverage and the calls.
    Replay {
        /// Seed to run.
        seed: u64,
    },
}

fn main() -> ExitCode {
    match Simulate::parse() {
        Simulate::Search { count, minutes, from, keep_going } => search(count, minutes, from, keep_going),
        Simulate::Replay { seed } => replay(seed),
    }
}

fn search(count: u64, minutes: u64, from: Option<u64>, keep_going: bool) -> ExitCode {
    let began = Instant::now();
    // A random start in the whole range, so that two searches do not run the same seeds.
    let from = from.unwrap_or_else(|| fastrand::u64(..));
    println!("seeds from {from}: {count} at most, for {minutes} min at most");
    let until = Some(began + Duration::from_secs(60 * minutes));
    let seeds = (0..count).map(|index| from.wrapping_add(index));
    let batch = Batch::run(seeds, Limits { until, first_failure: !keep_going });
    println!("{} seeds run in {} s", batch.seeds, began.elapsed().as_secs());
    for (seed, violations) in &batch.failures {
        println!("seed {seed} breaks a rule: {}", violations.join("; "));
        println!("  to see every event: cargo run -p simulation -- replay {seed}");
    }
    if batch.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64) -> ExitCode {
    let scenario = Scenario::generate(seed);
    let run = run(&scenario);
    println!("{scenario:#?}\n{}\n{:#?}", run.trace, run.coverage);
    println!("{} state transitions and these calls: {:#?}", run.transitions, run.calls);
    for violation in &run.violations {
        println!("seed {seed} breaks a rule: {violation}");
    }
    if run.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
