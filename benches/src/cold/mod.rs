//! The whole cold path: from the start of a function to the result of its first invocation, with TLS.

mod aws;
mod events;
mod share;
mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Instant,
};

use lambdas::functions::Function as Deployed;

pub use self::share::Share;
use self::{
    aws::{Aws, Counts},
    tls::Certificates,
};
use crate::{
    BenchError,
    function::{FirstInvocation, Function, Limit, Program},
    packages::Packages,
    python::Python,
    report::{Goal, Report},
    samples::{Samples, ms},
    table::{Name, Table},
};

/// The memory sizes that are compared, in MB: the last one has a whole processor.
const SIZES: [u32; 5] = [128, 256, 512, 1024, 1769];

/// A program and its measurements.
struct Candidate {
    label: String,
    program: Program,
    /// The memory size that terraform sets.
    memory_mb: u32,
    /// The sizes whose share is measured from the start.
    sizes: Vec<u32>,
    whole: Figures,
    from_start: BTreeMap<u32, Figures>,
    from_next: Figures,
}

/// The measurements of one program with one limit. Times are in milliseconds.
#[derive(Default)]
struct Figures {
    /// From the start to the first call of `/next`.
    started: Samples,
    /// From the start to the result for which an execution or a person waits.
    first: Samples,
    /// From the start to the answer.
    answered: Samples,
    first_processor: Samples,
    /// From the event of the second invocation to its result.
    second: Samples,
    second_processor: Samples,
    /// Of the first invocation.
    counts: Counts,
    peak_mb: Samples,
}

impl Candidate {
    fn new(label: String, program: Program, memory_mb: u32) -> Self {
        let (whole, from_start, from_next) = Default::default();
        Self { label, program, memory_mb, sizes: vec![memory_mb], whole, from_start, from_next }
    }

    /// Starts the program once with each limit.
    async fn round(&mut self, aws: &Aws, shares: &BTreeMap<u32, Arc<Share>>) -> Result<(), BenchError> {
        self.whole.measure(&self.program, aws, Limit::None).await?;
        for size in &self.sizes {
            let Some(share) = shares.get(size) else { continue };
            self.from_start.entry(*size).or_default().measure(&self.program, aws, Limit::Start(share)).await?;
            if *size == self.memory_mb {
                self.from_next.measure(&self.program, aws, Limit::Next(share)).await?;
            }
        }
        Ok(())
    }
}

impl Figures {
    async fn measure(&mut self, program: &Program, aws: &Aws, limit: Limit<'_>) -> Result<(), BenchError> {
        let event = events::prepare(program.name, aws)?;
        let mut function = Function::start_cold(program, FirstInvocation { event, limit }).await?;
        let (answered, answer) = function.answer().await?;
        events::check(program.name, &answer, aws)?;
        self.counts = aws.counts();
        self.started.push(ms(function.started_in));
        self.answered.push(ms(answered - function.started));
        self.first.push(ms(aws.world().effect.unwrap_or(answered) - function.started));
        let processor = function.thread_time()?;
        self.first_processor.push(ms(processor));
        self.peak_mb.push(function.peak_mb()?);

        let event = events::prepare(program.name, aws)?;
        let sent = Instant::now();
        let answer = function.invoke(event).await?;
        self.second.push(ms(aws.world().effect.unwrap_or_else(Instant::now) - sent));
        events::check(program.name, &answer, aws)?;
        self.second_processor.push(ms(function.thread_time()?.saturating_sub(processor)));
        function.end().await
    }
}

/// Adds the tables. `another_build` is a directory with packages, to be measured in the same rounds.
pub async fn measure(
    rounds: usize,
    root: &Path,
    packages: &Packages,
    another_build: Option<&Path>,
    python: &Python,
    report: &mut Report,
) -> Result<(), BenchError> {
    let certificates = Certificates::make()?;
    let roots = root.join("target/bench/roots.pem");
    fs::write(&roots, &certificates.roots)?;
    let aws = Aws::start(&certificates).await?;
    let roots = roots.display().to_string();
    let variables = || aws.variables.clone().into_iter().chain([("SSL_CERT_FILE", roots.clone())]);
    let another_build = another_build.map(|zips| packages.of_another_build(zips)).transpose()?;
    let builds = [("", Some(packages)), (", other build", another_build.as_ref())];
    let mut candidates = Vec::new();
    for function in Deployed::ALL {
        for (suffix, packages) in &builds {
            let Some(packages) = packages else { continue };
            let program = Program::packaged(packages, function.name())?.with(variables());
            let label = format!("{}{suffix}", function.name());
            let mut candidate = Candidate::new(label, program, function.memory_mb());
            if suffix.is_empty() {
                candidate.sizes = SIZES.to_vec();
            }
            candidates.push(candidate);
        }
    }
    // It does the work of list-pages and fetch-page.
    let peer = Program::peer(python).with(variables()).with([("AWS_CA_BUNDLE", roots.clone())]);
    candidates.push(Candidate::new(peer.name.to_owned(), peer, Deployed::ListPages.memory_mb()));
    let shares = shares(candidates.iter().flat_map(|candidate| &candidate.sizes)).unwrap_or_else(|error| {
        eprintln!("warning: the figures at Lambda's share of a processor are left out: {error}");
        BTreeMap::new()
    });
    for _ in 0..rounds {
        for candidate in &mut candidates {
            candidate.round(&aws, &shares).await?;
        }
    }
    report.add(whole(&candidates));
    if !shares.is_empty() {
        report.add(shared(&candidates));
        report.add(sizes(&candidates));
        let results = |candidate: &Candidate| Some(candidate.from_start.get(&candidate.memory_mb)?.first.clone());
        let figures: Vec<_> = candidates
            .iter()
            .filter(|candidate| Deployed::ALL.iter().any(|function| function.name() == candidate.label))
            .filter_map(|candidate| Some((&candidate.label, results(candidate)?)))
            .collect();
        report.goal(Goal::at_most("first invocation, with Lambda's share, ms: at most 100", 100.0, 0, &figures));
    }
    Ok(())
}

/// A control group for each of the memory sizes.
fn shares<'a>(sizes: impl Iterator<Item = &'a u32>) -> Result<BTreeMap<u32, Arc<Share>>, BenchError> {
    let sizes: BTreeSet<_> = sizes.collect();
    sizes.into_iter().map(|size| Ok((*size, Arc::new(Share::of_memory(*size)?)))).collect()
}

fn whole(candidates: &[Candidate]) -> Table {
    let headings = [
        "whole processor",
        "requests",
        "handshakes, full + resumed",
        "to `/next`, ms",
        "to the result, ms",
        "processor, ms",
        "memory, MB",
        "second, ms",
        "processor, ms",
    ];
    let mut table = Table::new(Name::FirstInvocation, &headings);
    for Candidate { label, whole, .. } in candidates {
        let Counts { full_handshakes, resumed_handshakes, requests } = whole.counts;
        table.row(&[
            label.clone(),
            requests.to_string(),
            format!("{full_handshakes} + {resumed_handshakes}"),
            whole.started.show(1),
            whole.first.show(1),
            whole.first_processor.show(1),
            whole.peak_mb.show(0),
            whole.second.show(1),
            whole.second_processor.show(1),
        ]);
    }
    table
}

fn shared(candidates: &[Candidate]) -> Table {
    let headings = [
        "Lambda's share",
        "memory size, MB",
        "share from the start: to `/next`, ms",
        "to the result, ms",
        "share from `/next`: to the result, ms",
        "second, ms",
    ];
    let mut table = Table::new(Name::FirstInvocationAtShare, &headings);
    for Candidate { label, memory_mb, from_start, from_next, .. } in candidates {
        let Some(limited) = from_start.get(memory_mb) else { continue };
        table.row(&[
            label.clone(),
            memory_mb.to_string(),
            limited.started.show(1),
            limited.first.show(1),
            from_next.first.show(1),
            from_next.second.show(1),
        ]);
    }
    table
}

/// The time to the result at each memory size, and what it costs.
fn sizes(candidates: &[Candidate]) -> Table {
    let sizes = SIZES.iter().map(|size| format!("{size} MB: ms, GB ms"));
    let headings: Vec<_> = ["memory size".to_owned()].into_iter().chain(sizes).collect();
    let mut table = Table::new(Name::MemorySizes, &headings.iter().map(String::as_str).collect::<Vec<_>>());
    for Candidate { label, from_start, .. } in candidates {
        let cells: Vec<_> = SIZES.iter().filter_map(|size| Some((size, from_start.get(size)?))).collect();
        if cells.len() < SIZES.len() {
            continue;
        }
        let cells = cells.into_iter().map(|(size, figures)| {
            let billed = figures.answered.median() * f64::from(*size) / 1024.0;
            format!("{:.0}, {billed:.1}", figures.first.median())
        });
        table.row(&[label.clone()].into_iter().chain(cells).collect::<Vec<_>>());
    }
    table
}
