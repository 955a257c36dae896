//! The emulator: one process that speaks S3, `EventBridge`, Step Functions, SNS and Lambda on a loopback port.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};

use crate::{Dependencies, Error, dependencies::last_lines, group::Group};

/// Starts the emulator's server, and ends it when this process is gone.
const LAUNCHER: &str = include_str!("launcher.py");

/// What the emulator and the Lambda functions see of our environment. Nothing else: neither the user's AWS settings nor a
/// proxy may come between them.
const PASSED_ON: [&str; 6] = ["PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "RUST_LOG", "RUST_BACKTRACE"];

/// The region that everything lies in.
pub(super) const REGION: &str = "us-east-1";

/// How long the emulator may take to answer: it takes half a second, on a machine that does nothing else.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running emulator, with nothing in it at first. It ends when this value is dropped, and when this process dies.
#[derive(Debug)]
pub struct Emulator {
    url: String,
    server: Server,
    aws: SdkConfig,
}

impl Emulator {
    /// Starts its own emulator on a free port of 127.0.0.1 and waits until it answers.
    ///
    /// # Errors
    /// [`Error::EmulatorDidNotStart`] names the emulator's log.
    pub async fn start(dependencies: &Dependencies) -> Result<Self, Error> {
        let (mut server, stdout) = Server::spawn(dependencies)?;
        let first_line = spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line.trim_end().to_owned())
        });
        let began = async {
            let url = first_line.await??;
            healthy(&url).await?;
            Ok::<_, std::io::Error>(url)
        };
        let why = match timeout(START_LIMIT, began).await {
            Ok(Ok(url)) => {
                let aws = sdk_config(&url);
                return Ok(Self { url, server, aws });
            }
            Ok(Err(error)) => match server.child.try_wait() {
                Ok(Some(status)) => format!("it ended with {status}"),
                _ => error.to_string(),
            },
            Err(_) => format!("no answer within {} s", START_LIMIT.as_secs()),
        };
        server.keep();
        let log = server.log();
        Err(Error::EmulatorDidNotStart { why, log_end: log_end(&log), log })
    }

    /// Where it listens, as `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the SDKs' clients need to reach it: its endpoint, a region and credentials that mean nothing elsewhere.
    #[must_use]
    pub fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// Its log, with what the Lambda functions wrote. Removed at the end unless [`keep_log`](Self::keep_log) was called or
    /// the thread panics.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.server.log()
    }

    /// Leaves the log behind when the emulator ends.
    pub fn keep_log(&mut self) {
        self.server.keep();
    }

    /// The emulator's process group: its own process and the Lambda functions'.
    #[must_use]
    pub fn process_group(&self) -> u32 {
        self.server.child.id()
    }
}

/// The process, its directory and the promise that both go.
#[derive(Debug)]
struct Server {
    /// Its standard input is never written to: its end is what the launcher waits for.
    child: Child,
    dir: TempDir,
}

impl Server {
    fn spawn(dependencies: &Dependencies) -> Result<(Self, impl Read + Send + 'static), Error> {
        let runs = dependencies.dir().join("runs");
        fs::create_dir_all(&runs).map_err(Error::file("create", &runs))?;
        let dir =
            tempfile::Builder::new().prefix("emulator-").tempdir_in(&runs).map_err(Error::file("create", runs))?;
        let tmp = dir.path().join("tmp");
        fs::create_dir(&tmp).map_err(Error::file("create", &tmp))?;
        let log_file = dir.path().join(LOG);
        let log = File::create(&log_file).map_err(Error::file("create", log_file))?;

        let python = dependencies.python();
        let mut child = Command::new(&python)
            .args(["-c", LAUNCHER])
            .env_clear()
            .envs(PASSED_ON.into_iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))))
            .envs([
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_DEFAULT_REGION", REGION),
                ("MINISTACK_REGION", REGION),
                ("PYTHONUNBUFFERED", "1"),
                // Listeners of services that nobody asked for.
                ("IOT_MTLS_ENABLED", "0"),
                ("SFTP_ENABLED", "0"),
            ])
            .env("TMPDIR", &tmp)
            // Objects lie on disk: in memory, a video would be there several times over.
            .env("S3_PERSIST", "1")
            .env("S3_DATA_DIR", tmp.join("s3"))
            .env("HOME", dir.path())
            .current_dir(dir.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(Error::file("run", python))?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no standard output"));
        let server = Self { child, dir };
        let stdout = stdout.map_err(Error::file("read from", server.dir.path()))?;
        Ok((server, stdout))
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join(LOG)
    }

    fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An emulator that ended by itself has ended its group too.
        if let Ok(None) = self.child.try_wait() {
            drop(Group::of(Some(self.child.id())));
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the emulator's log is kept in {}, and ends:\n{}", self.log().display(), log_end(&self.log()));
            self.keep();
        }
        let _ = fs::remove_dir_all(self.dir.path().join("tmp"));
    }
}

/// The log's name in the emulator's directory.
const LOG: &str = "emulator.log";

/// The end of a log, for an error message.
pub(super) fn log_end(log: &Path) -> String {
    const BYTES: u64 = 8 * 1024;
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok::<_, std::io::Error>(last_lines(String::from_utf8_lossy(&end).trim_end(), 15))
    };
    read().unwrap_or_else(|error| format!("(it cannot be read: {error})"))
}

/// Asks the emulator for its health; it accepts before it is ready and answers once it is.
async fn healthy(url: &str) -> std::io::Result<()> {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET /_ministack/health HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if status.windows(5).any(|part| part == b" 200 ") {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("it answers {}", String::from_utf8_lossy(status))))
    }
}

fn sdk_config(url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "facereel");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build()
}
