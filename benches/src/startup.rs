//! The start-up time: from the spawn of a function to its first call of `/next`.

use std::time::Duration;

use crate::{
    BenchError,
    function::{Function, Program},
    packages::Packages,
    python::Python,
    services::Services,
    table::{Table, median, ms, times},
};

/// The functions of the workflow.
const FUNCTIONS: [&str; 7] = [
    "inspect-video",
    "start-detection",
    "resume-execution",
    "start-waiting-jobs",
    "list-pages",
    "fetch-page",
    "summarize",
];

/// A program, and the measurements of its starts.
struct Starts {
    program: Program,
    wall: Vec<Duration>,
    processor: Vec<Duration>,
    peak_mb: f64,
}

impl Starts {
    fn of(program: Program) -> Self {
        Self { program, wall: Vec::new(), processor: Vec::new(), peak_mb: 0.0 }
    }

    async fn start(&mut self, services: &Services) -> Result<(), BenchError> {
        let function = Function::start(&self.program, services.url()).await?;
        self.wall.push(function.started_in);
        self.processor.push(function.thread_time()?);
        self.peak_mb = self.peak_mb.max(function.peak_mb()?);
        function.end().await
    }

    /// The medians.
    fn times(&self) -> (Duration, Duration) {
        (median(self.wall.clone()), median(self.processor.clone()))
    }
}

/// Prints the table.
pub async fn measure(rounds: usize, packages: &Packages, python: &Python) -> Result<(), BenchError> {
    let services = Services::start(Duration::ZERO).await?;
    let mut ours = vec![Starts::of(Program::hello(packages)?)];
    for name in FUNCTIONS {
        ours.push(Starts::of(Program::packaged(packages, name)?));
    }
    ours.push(Starts::of(Program::with_the_machines_roots(packages)?));
    let mut peer = Starts::of(Program::peer(python));
    for _ in 0..rounds {
        for starts in &mut ours {
            starts.start(&services).await?;
        }
    }
    // After all others: it fills the processor's caches, so that the program after it would seem slow.
    for _ in 0..rounds {
        peer.start(&services).await?;
    }
    let (hello, python) = (ours[0].times(), peer.times());
    let mut table = Table::new(&[
        "start-up",
        "wall, ms",
        "x hello",
        "Python x",
        "processor, ms",
        "x hello",
        "Python x",
        "memory, MB",
    ]);
    for starts in ours.iter().chain([&peer]) {
        let (wall, processor) = starts.times();
        table.row(&[
            starts.program.name.to_owned(),
            ms(wall),
            times(wall, hello.0),
            times(python.0, wall),
            ms(processor),
            times(processor, hello.1),
            times(python.1, processor),
            format!("{:.0}", starts.peak_mb),
        ]);
    }
    println!("{table}");
    Ok(())
}
