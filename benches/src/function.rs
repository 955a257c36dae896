//! A Lambda function as a child process, with its own Runtime API.

use std::{
    ffi::OsString,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path as UrlPath, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use crate::{BenchError, cold::Share, packages::Packages, python::Python};

/// The timeout of an invocation. Every measured invocation is shorter.
const INVOCATION_TIMEOUT: Duration = Duration::from_mins(15);

/// More than the time in which a shell starts.
const SHELL_START: Duration = Duration::from_millis(20);

/// The program that is run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name in the tables.
    pub name: &'static str,
    command: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, String)>,
}

impl Program {
    /// One of the workflow's functions, from its deployment package.
    pub fn packaged(packages: &Packages, name: &'static str) -> Result<Self, BenchError> {
        Ok(Self::at(name, packages.unpack(name)?))
    }

    /// The function that does nothing, built like the others.
    pub fn hello(packages: &Packages) -> Self {
        Self::at("hello", packages.hello.clone())
    }

    /// list-pages with the root certificates of this machine instead of Amazon's.
    pub fn with_the_machines_roots(packages: &Packages) -> Result<Self, BenchError> {
        let program = Self::packaged(packages, "list-pages")?.with([("SSL_CERT_DIR", "/etc/ssl/certs".to_owned())]);
        Ok(Self { name: "list-pages, the machine's roots", ..program })
    }

    fn at(name: &'static str, command: PathBuf) -> Self {
        Self { name, command, arguments: Vec::new(), environment: Vec::new() }
    }

    /// The Python handler, under AWS's own Runtime API client for Python.
    pub fn peer(python: &Python) -> Self {
        let arguments = ["-m", "awslambdaric", "handler.handler"].map(OsString::from).into();
        Self { name: "Python", command: python.command.clone(), arguments, environment: Vec::new() }
    }

    /// The program with more environment variables.
    pub fn with(mut self, variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.environment.extend(variables);
        self
    }
}

/// A running function; it is killed when this is dropped.
pub struct Function {
    child: Child,
    pid: u32,
    api: JoinHandle<()>,
    events: mpsc::UnboundedSender<Value>,
    answers: mpsc::UnboundedReceiver<(Instant, Result<Value, String>)>,
    /// When it was started.
    pub started: Instant,
    /// From its start to the first call of `/next`.
    pub started_in: Duration,
    /// Processor time of the process before the start.
    shell_time: Duration,
}

/// How a first invocation is measured.
pub struct FirstInvocation<'a> {
    /// The event, which waits for the first call of `/next`.
    pub event: Value,
    /// The limit of the processor time.
    pub limit: Limit<'a>,
}

/// When the processor time of a function is limited.
#[derive(Clone, Copy)]
pub enum Limit<'a> {
    /// Never.
    None,
    /// From its start.
    Start(&'a Arc<Share>),
    /// From the first call of `/next`.
    Next(&'a Arc<Share>),
}

struct RuntimeApi {
    asked: mpsc::UnboundedSender<Instant>,
    events: Mutex<mpsc::UnboundedReceiver<Value>>,
    answers: mpsc::UnboundedSender<(Instant, Result<Value, String>)>,
    /// The limit that begins with the first call of `/next`, and the process.
    limit: OnceLock<(Arc<Share>, u32)>,
}

impl Function {
    /// Starts the program and waits until it asks for its first event. `services` is its endpoint for AWS.
    pub async fn start(program: &Program, services: &str) -> Result<Self, BenchError> {
        let mut command = Command::new(&program.command);
        command.args(&program.arguments).stdin(Stdio::inherit());
        let variables = [("AWS_ENDPOINT_URL", services.to_owned())];
        Self::spawn(program, command, variables, None).await
    }

    /// Starts the program with its first event waiting, and waits until it has asked for it.
    ///
    /// A shell waits in the process until the limit is set, and then executes the program in its place.
    pub async fn start_cold(program: &Program, first: FirstInvocation<'_>) -> Result<Self, BenchError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read -r _ && exec \"$@\"", "sh"]).arg(&program.command).args(&program.arguments);
        command.stdin(Stdio::piped());
        Self::spawn(program, command, [], Some(first)).await
    }

    async fn spawn(
        program: &Program,
        mut command: Command,
        variables: impl IntoIterator<Item = (&'static str, String)>,
        first: Option<FirstInvocation<'_>>,
    ) -> Result<Self, BenchError> {
        let (asked, mut first_ask) = mpsc::unbounded_channel();
        let (events, incoming) = mpsc::unbounded_channel();
        let (sender, answers) = mpsc::unbounded_channel();
        let events_of_api = Mutex::new(incoming);
        let shared = Arc::new(RuntimeApi { asked, events: events_of_api, answers: sender, limit: OnceLock::new() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(ended))
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let api = tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() });

        let mut started = Instant::now();
        let mut child = command
            .env_clear()
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
                ("AWS_LAMBDA_FUNCTION_NAME", program.name),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
                ("AWS_ACCESS_KEY_ID", "bench"),
                ("AWS_SECRET_ACCESS_KEY", "bench"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_DEFAULT_REGION", "us-east-1"),
                ("RESULTS_BUCKET", "results"),
                ("COMPLETION_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:completions"),
                ("PUBLISH_ROLE_ARN", "arn:aws:iam::123456789012:role/publish"),
                ("FACE_ATTRIBUTES", "DEFAULT"),
                ("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/peer")),
                ("PYTHONPYCACHEPREFIX", concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/pycache")),
                ("HOME", "/nonexistent"),
            ])
            .envs(variables)
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or(BenchError::Ended(program.name))?;
        let mut shell_time = Duration::ZERO;
        if let Some(FirstInvocation { event, limit }) = first {
            events.send(event).ok();
            // The shell has to have reached its `read`.
            tokio::time::sleep(SHELL_START).await;
            match limit {
                Limit::None => {}
                Limit::Start(share) => share.limit(pid)?,
                Limit::Next(share) => shared.limit.set((share.clone(), pid)).unwrap_or_default(),
            }
            shell_time = thread_time(pid)?;
            let mut go = child.stdin.take().ok_or(BenchError::Ended(program.name))?;
            started = Instant::now();
            go.write_all(b"\n").await?;
        }
        let asked = tokio::select! {
            asked = first_ask.recv() => asked,
            _ = child.wait() => None,
        };
        let asked = asked.ok_or(BenchError::Ended(program.name))?;
        Ok(Self { child, pid, api, events, answers, started, started_in: asked - started, shell_time })
    }

    /// Sends it an event and waits for its result.
    pub async fn invoke(&mut self, event: Value) -> Result<Value, BenchError> {
        self.events.send(event).map_err(|_| BenchError::Failed("the Runtime API has ended".to_owned()))?;
        Ok(self.answer().await?.1)
    }

    /// Waits for the result of an event that was sent; returns it with the time when it arrived.
    pub async fn answer(&mut self) -> Result<(Instant, Value), BenchError> {
        let answer = tokio::select! {
            answer = self.answers.recv() => answer,
            _ = self.child.wait() => None,
            () = tokio::time::sleep(INVOCATION_TIMEOUT) => None,
        };
        let (arrived, answer) = answer.ok_or_else(|| BenchError::Failed("the function has ended".to_owned()))?;
        Ok((arrived, answer.map_err(BenchError::Failed)?))
    }

    /// Ends the process and waits for its end, which takes processor time that would be measured in the next start.
    pub async fn end(mut self) -> Result<(), BenchError> {
        Ok(self.child.kill().await?)
    }

    /// Processor time of all its running threads since its start: exact, for a function whose threads have not ended.
    pub fn thread_time(&self) -> Result<Duration, BenchError> {
        Ok(thread_time(self.pid)?.saturating_sub(self.shell_time))
    }

    /// User and system time so far, ended threads included, in steps of 10 ms.
    pub fn processor_time(&self) -> Result<Duration, BenchError> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        ticks(&stat).map(|[ticks, _]| Duration::from_millis(10 * ticks)).ok_or(BenchError::Unreadable("stat"))
    }

    /// Its peak memory so far, in MB of 10^6 bytes.
    pub fn peak_mb(&self) -> Result<f64, BenchError> {
        peak_mb_of(&self.pid.to_string())
    }
}

/// Processor time of all running threads of a process.
fn thread_time(pid: u32) -> Result<Duration, BenchError> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let run_and_waited = fs::read_to_string(thread?.path().join("schedstat"))?;
        total += run_and_waited.split(' ').next().and_then(|run| run.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// The peak memory of a process so far, in MB of 10^6 bytes. `process` is its id, or `self`.
pub fn peak_mb_of(process: &str) -> Result<f64, BenchError> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    peak_kib(&status).map(|kib| f64::from(kib) * 1024.0 / 1e6).ok_or(BenchError::Unreadable("status"))
}

impl Drop for Function {
    fn drop(&mut self) {
        self.api.abort();
    }
}

/// User and system time of all ended children of this process, and of their ended children, in steps of 10 ms.
pub fn children_time() -> Result<Duration, BenchError> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let [_, children] = ticks(&stat).ok_or(BenchError::Unreadable("stat"))?;
    Ok(Duration::from_millis(10 * children))
}

/// User and system time in `/proc/<pid>/stat`, first of the process and then of its ended children: Linux counts 100 ticks a second
/// for every program.
fn ticks(stat: &str) -> Option<[u64; 2]> {
    // The second field is the program's name, in parentheses, and may contain any characters.
    let fields = stat.rsplit_once(") ")?.1.split(' ').skip(11).take(4);
    let fields: Vec<u64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let &[user, system, children_user, children_system] = fields.as_slice() else { return None };
    Some([user + system, children_user + children_system])
}

/// The peak memory in `/proc/<pid>/status`.
pub fn peak_kib(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Response {
    api.asked.send(Instant::now()).ok();
    if let Some((share, pid)) = api.limit.get()
        && let Err(error) = share.limit(*pid)
    {
        eprintln!("warning: the processor time was not limited: {error}");
    }
    match api.events.lock().await.recv().await {
        Some(event) => (
            [
                ("Lambda-Runtime-Aws-Request-Id", "00000000-0000-0000-0000-000000000000"),
                ("Lambda-Runtime-Deadline-Ms", "9999999999999"),
                ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:bench"),
                ("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0"),
            ],
            axum::Json(event),
        )
            .into_response(),
        None => StatusCode::GONE.into_response(),
    }
}

async fn ended(
    State(api): State<Arc<RuntimeApi>>,
    UrlPath((_, outcome)): UrlPath<(String, String)>,
    body: Bytes,
) -> StatusCode {
    let arrived = Instant::now();
    let answer = match serde_json::from_slice(&body) {
        Ok(answer) if outcome == "response" => Ok(answer),
        _ => Err(String::from_utf8_lossy(&body).into_owned()),
    };
    api.answers.send((arrived, answer)).ok();
    StatusCode::ACCEPTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_after_a_name_with_a_parenthesis_are_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 31 4 7 1 20 0 2 0 1 1";
        assert_eq!(ticks(stat), Some([35, 8]));
        assert_eq!(ticks("42 (a"), None);
    }

    #[test]
    fn the_peak_is_read_from_the_status() {
        assert_eq!(peak_kib("Name:\ta\nVmHWM:\t   12345 kB\nVmRSS:\t   1 kB\n"), Some(12_345));
        assert_eq!(peak_kib("Name:\ta\n"), None);
    }
}
