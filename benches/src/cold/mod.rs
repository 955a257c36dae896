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
    time::{Duration, Instant},
};

use lambdas::functions::Function as Deployed;

pub use self::share::Share;
use self::{aws::Aws, tls::Certificates};
use crate::{
    BenchError,
    function::{FirstInvocation, Function, Limit, Program},
    packages::Packages,
    python::Python,
    table::{Table, median, ms},
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
    whole: Samples,
    from_start: BTreeMap<u32, Samples>,
    from_next: Samples,
}

/// The measurements of one program with one limit.
#[derive(Default)]
struct Samples {
    started: Vec<Duration>,
    /// To the result that someone waits for.
    first: Vec<Duration>,
    /// To the answer.
    answered: Vec<Duration>,
    first_processor: Vec<Duration>,
    second: Vec<Duration>,
    second_processor: Vec<Duration>,
    handshakes: (usize, usize),
    requests: usize,
    peak_mb: f64,
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

impl Samples {
    async fn measure(&mut self, program: &Program, aws: &Aws, limit: Limit<'_>) -> Result<(), BenchError> {
        let event = events::prepare(program.name, aws)?;
        let mut function = Function::start_cold(program, FirstInvocation { event, limit }).await?;
        let (answered, answer) = function.answer().await?;
        events::check(program.name, &answer, aws)?;
        let counts = aws.counts();
        self.handshakes = (counts.full_handshakes, counts.resumed_handshakes);
        self.requests = counts.requests;
        self.started.push(function.started_in);
        self.answered.push(answered - function.started);
        self.first.push(aws.world().effect.unwrap_or(answered) - function.started);
        let processor = function.thread_time()?;
        self.first_processor.push(processor);
        self.peak_mb = self.peak_mb.max(function.peak_mb()?);

        let event = events::prepare(program.name, aws)?;
        let sent = Instant::now();
        let answer = function.invoke(event).await?;
        self.second.push(aws.world().effect.map_or_else(|| sent.elapsed(), |effect| effect - sent));
        events::check(program.name, &answer, aws)?;
        self.second_processor.push(function.thread_time()?.saturating_sub(processor));
        function.end().await
    }
}

/// Prints the tables. `another_build` is a directory with packages, to be measured in the same rounds.
pub async fn measure(
    rounds: usize,
    root: &Path,
    packages: &Packages,
    another_build: Option<&Path>,
    python: &Python,
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
    println!("{}\n{}\n{}", whole(&candidates), shared(&candidates), sizes(&candidates));
    Ok(())
}

/// A control group for each of the memory sizes.
fn shares<'a>(sizes: impl Iterator<Item = &'a u32>) -> Result<BTreeMap<u32, Arc<Share>>, BenchError> {
    let sizes: BTreeSet<_> = sizes.collect();
    sizes.into_iter().map(|size| Ok((*size, Arc::new(Share::of_memory(*size)?)))).collect()
}

fn whole(candidates: &[Candidate]) -> Table {
    let mut table = Table::new(&[
        "whole processor",
        "requests",
        "handshakes, full + resumed",
        "to `/next`, ms",
        "to the result, ms",
        "processor, ms",
        "memory, MB",
        "second, ms",
        "processor, ms",
    ]);
    for Candidate { label, whole: samples, .. } in candidates {
        table.row(&[
            label.clone(),
            samples.requests.to_string(),
            format!("{} + {}", samples.handshakes.0, samples.handshakes.1),
            spread(&samples.started),
            spread(&samples.first),
            spread(&samples.first_processor),
            format!("{:.0}", samples.peak_mb),
            spread(&samples.second),
            spread(&samples.second_processor),
        ]);
    }
    table
}

fn shared(candidates: &[Candidate]) -> Table {
    let mut table = Table::new(&[
        "Lambda's share",
        "memory size, MB",
        "share from the start: to `/next`, ms",
        "to the result, ms",
        "share from `/next`: to the result, ms",
        "second, ms",
    ]);
    for Candidate { label, memory_mb, from_start, from_next, .. } in candidates {
        let Some(samples) = from_start.get(memory_mb) else { continue };
        table.row(&[
            label.clone(),
            memory_mb.to_string(),
            spread(&samples.started),
            spread(&samples.first),
            spread(&from_next.first),
            spread(&from_next.second),
        ]);
    }
    table
}

/// The time to the result at each memory size, and what it costs.
fn sizes(candidates: &[Candidate]) -> Table {
    let sizes = SIZES.iter().map(|size| format!("{size} MB: ms (GB ms)"));
    let headings: Vec<_> = ["memory size".to_owned()].into_iter().chain(sizes).collect();
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for Candidate { label, from_start, .. } in candidates {
        let cells: Vec<_> = SIZES.iter().filter_map(|size| Some((size, from_start.get(size)?))).collect();
        if cells.len() < SIZES.len() {
            continue;
        }
        let cells = cells.into_iter().map(|(size, samples)| {
            let billed = median(samples.answered.clone());
            let price = billed.as_secs_f64() * 1e3 * f64::from(*size) / 1024.0;
            format!("{} ({price:.1})", ms(median(samples.first.clone())))
        });
        table.row(&[label.clone()].into_iter().chain(cells).collect::<Vec<_>>());
    }
    table
}

/// The median, and the quartiles around it.
fn spread(durations: &[Duration]) -> String {
    let mut sorted = durations.to_vec();
    sorted.sort();
    let at = |quarter: usize| sorted.get(quarter * sorted.len().saturating_sub(1) / 4).copied().unwrap_or_default();
    format!("{} ({}–{})", ms(median(sorted.clone())), ms(at(1)), ms(at(3)))
}
