//! The start-up time: from the spawn of a function to its first call of `/next`.

use std::time::Duration;

use lambdas::functions::Function as Deployed;

use crate::{
    BenchError,
    function::{Function, Program},
    packages::Packages,
    python::Python,
    report::{Goal, Report},
    samples::{Samples, ms},
    services::Services,
    table::{Name, Table},
};

/// A program, and the measurements of its starts.
struct Starts {
    program: Program,
    wall_ms: Samples,
    processor_ms: Samples,
    peak_mb: Samples,
}

impl Starts {
    fn of(program: Program) -> Self {
        Self { program, wall_ms: Samples::default(), processor_ms: Samples::default(), peak_mb: Samples::default() }
    }

    async fn start(&mut self, services: &Services) -> Result<(), BenchError> {
        let function = Function::start(&self.program, services.url()).await?;
        self.wall_ms.push(ms(function.started_in));
        self.processor_ms.push(ms(function.thread_time()?));
        self.peak_mb.push(function.peak_mb()?);
        function.end().await
    }
}

/// Adds the table and the goals.
pub async fn measure(
    rounds: usize,
    packages: &Packages,
    python: &Python,
    report: &mut Report,
) -> Result<(), BenchError> {
    let services = Services::start(Duration::ZERO).await?;
    let mut programs = vec![Starts::of(Program::hello(packages))];
    for function in Deployed::ALL {
        programs.push(Starts::of(Program::packaged(packages, function.name())?));
    }
    programs.push(Starts::of(Program::with_the_machines_roots(packages)?));
    let mut peer = Starts::of(Program::peer(python));
    for _ in 0..rounds {
        // Python fills the processor's caches, so that a start after it would seem slow: each program is started once before.
        for starts in &programs {
            Function::start(&starts.program, services.url()).await?.end().await?;
        }
        for starts in &mut programs {
            starts.start(&services).await?;
        }
        peer.start(&services).await?;
    }
    programs.push(peer);
    let [hello, python] = [&programs[0], &programs[programs.len() - 1]];
    let mut table = Table::new(
        Name::Startup,
        &["start-up", "wall, ms", "x hello", "Python x", "processor, ms", "x hello", "Python x", "memory, MB"],
    );
    for Starts { program, wall_ms, processor_ms, peak_mb } in &programs {
        table.row(&[
            program.name.to_owned(),
            wall_ms.show(1),
            wall_ms.over(&hello.wall_ms).show(2),
            python.wall_ms.over(wall_ms).show(0),
            processor_ms.show(1),
            processor_ms.over(&hello.processor_ms).show(2),
            python.processor_ms.over(processor_ms).show(0),
            peak_mb.show(0),
        ]);
    }
    report.add(table);
    let functions = || programs[1..].iter().take(Deployed::ALL.len());
    let ratios: Vec<_> = functions().map(|starts| (starts.program.name, starts.wall_ms.over(&hello.wall_ms))).collect();
    report.goal(Goal::at_most("start-up, x hello world: at most 1.5", 1.5, 2, &ratios));
    let ratios: Vec<_> =
        functions().map(|starts| (starts.program.name, python.wall_ms.over(&starts.wall_ms))).collect();
    report.goal(Goal::at_least("start-up, times faster than Python: at least 10", 10.0, 0, &ratios));
    Ok(())
}
