//! From a function's spawn to its first call of `/next`.

use std::time::Duration;

use crate::{
    BenchError,
    function::{Function, Program},
    services::Services,
    table::{Table, median, ms, times},
};

/// The functions of the workflow.
const FUNCTIONS: [&str; 5] = ["start-detection", "resume-execution", "list-pages", "fetch-page", "summarize"];

/// Prints the table.
pub async fn measure(rounds: usize, peer: &Program) -> Result<(), BenchError> {
    let services = Services::start(Duration::ZERO).await?;
    let mut programs = vec![Program::ours("hello")?];
    for name in FUNCTIONS {
        programs.push(Program::ours(name)?);
    }
    programs.push(Program::with_the_machines_roots()?);
    programs.push(peer.clone());
    let mut figures = vec![(Vec::new(), Vec::new()); programs.len()];
    // The first round is for the page cache.
    for round in 0..=rounds {
        for (program, (wall, processor)) in programs.iter().zip(&mut figures) {
            let function = Function::start(program, services.url()).await?;
            if round > 0 {
                wall.push(function.started_in);
                processor.push(function.thread_time()?);
            }
        }
    }
    let figures: Vec<_> = figures.into_iter().map(|(wall, processor)| (median(wall), median(processor))).collect();
    let (hello, python) = (figures[0], figures[figures.len() - 1]);
    let mut table =
        Table::new(&["start-up", "wall, ms", "x hello", "Python x", "processor, ms", "x hello", "Python x"]);
    for (program, (wall, processor)) in programs.iter().zip(figures) {
        table.row(&[
            program.name.to_owned(),
            ms(wall),
            times(wall, hello.0),
            times(python.0, wall),
            ms(processor),
            times(processor, hello.1),
            times(python.1, processor),
        ]);
    }
    println!("{table}");
    Ok(())
}
