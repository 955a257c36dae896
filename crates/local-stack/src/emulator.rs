//! The emulator: one process that speaks S3, `EventBridge`, Step Functions, SNS and Lambda on a loopback port.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    net::{Ipv4Addr, TcpListener},
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

use crate::{Dependencies, Error, dependencies::last_lines, process_group::ProcessGroup};

/// Starts the emulator's server, and ends it when this process ends.
const LAUNCHER: &str = include_str!("launcher.py");

/// The environment variables that the emulator and the Lambda functions inherit. All others are removed, because the
/// user's AWS settings or a proxy would redirect their calls.
const PASSED_ON: [&str; 6] = ["PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "RUST_LOG", "RUST_BACKTRACE"];

/// The Region of everything that is deployed on the emulator.
pub const REGION: &str = "us-east-1";

/// The id and the secret of the access key for the emulator. AWS accepts neither.
pub const ACCESS_KEY: &str = "test";

/// How long the emulator may take to answer. On an idle machine it takes half a second.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running emulator, empty at first. It ends when this value is dropped, and when this process ends for any reason.
#[derive(Debug)]
pub struct Emulator {
    url: String,
    process: EmulatorProcess,
    aws: SdkConfig,
}

impl Emulator {
    /// Starts an emulator on a free port of 127.0.0.1 and waits until it answers.
    ///
    /// # Errors
    /// [`Error::EmulatorDidNotStart`], with the path and the end of the emulator's log; [`Error::File`].
    pub async fn start(dependencies: &Dependencies) -> Result<Self, Error> {
        Self::start_at(dependencies, 0).await
    }

    /// Starts an emulator on this port of 127.0.0.1, or on any free one if it is 0, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Port`], if the port is in use; else as [`start`](Self::start).
    pub async fn start_at(dependencies: &Dependencies, port: u16) -> Result<Self, Error> {
        Self::check_port(port)?;
        let (mut process, stdout) = EmulatorProcess::spawn(dependencies, port)?;
        let first_line = spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line.trim_end().to_owned())
        });
        let started = async {
            let url = first_line.await??;
            healthy(&url).await?;
            Ok::<_, std::io::Error>(url)
        };
        let why = match timeout(START_LIMIT, started).await {
            Ok(Ok(url)) => {
                let aws = sdk_config(&url);
                return Ok(Self { url, process, aws });
            }
            Ok(Err(error)) => match process.child.try_wait() {
                Ok(Some(status)) => format!("it ended with {status}"),
                _ => error.to_string(),
            },
            Err(_) => format!("no answer within {} s", START_LIMIT.as_secs()),
        };
        process.keep_dir();
        let log = process.log();
        Err(Error::EmulatorDidNotStart { why, log_end: log_end(&log), log })
    }

    /// Opens and closes the port. The error of the emulator's process would be in its log only.
    ///
    /// # Errors
    /// [`Error::Port`], if it is in use.
    pub fn check_port(port: u16) -> Result<(), Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        listener.map(drop).map_err(|source| Error::Port { port, source })
    }

    /// The URL of its endpoint, such as `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The configuration for SDK clients: the endpoint, a Region, and credentials that are valid nowhere else.
    #[must_use]
    pub fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// The path of its log, which includes the output of the Lambda functions. The log is removed when the emulator ends,
    /// unless [`keep_log`](Self::keep_log) was called or the thread panics.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.process.log()
    }

    /// Keeps the log when the emulator ends.
    pub fn keep_log(&mut self) {
        self.process.keep_dir();
    }

    /// The id of the emulator's process group, which contains its process and those of the Lambda functions.
    #[must_use]
    pub fn process_group(&self) -> u32 {
        self.process.child.id()
    }
}

/// The process of the emulator and its directory. Both are removed when this value is dropped.
#[derive(Debug)]
struct EmulatorProcess {
    /// The launcher reads its standard input, to which nothing is written, and ends at its end of file.
    child: Child,
    dir: TempDir,
}

impl EmulatorProcess {
    fn spawn(dependencies: &Dependencies, port: u16) -> Result<(Self, impl Read + Send + 'static), Error> {
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
            .args(["-c", LAUNCHER, &port.to_string()])
            .env_clear()
            .envs(PASSED_ON.into_iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))))
            .envs([
                ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
                ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY),
                ("AWS_DEFAULT_REGION", REGION),
                ("MINISTACK_REGION", REGION),
                ("PYTHONUNBUFFERED", "1"),
                // Do not start listeners of services that the workflow does not use.
                ("IOT_MTLS_ENABLED", "0"),
                ("SFTP_ENABLED", "0"),
            ])
            .env("TMPDIR", &tmp)
            // Objects are stored on disk: in memory, the emulator would hold several copies of a video.
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
        let process = Self { child, dir };
        let stdout = stdout.map_err(Error::file("read from", process.dir.path()))?;
        Ok((process, stdout))
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join(LOG)
    }

    fn keep_dir(&mut self) {
        self.dir.disable_cleanup(true);
    }
}

impl Drop for EmulatorProcess {
    fn drop(&mut self) {
        // If the emulator has already ended, its launcher has ended the process group too.
        if let Ok(None) = self.child.try_wait() {
            drop(ProcessGroup::of(Some(self.child.id())));
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "the emulator's log is kept in {}; its last lines:\n{}",
                self.log().display(),
                log_end(&self.log())
            );
            self.keep_dir();
        }
        let _ = fs::remove_dir_all(self.dir.path().join("tmp"));
    }
}

/// The name of the log file in the emulator's directory.
const LOG: &str = "emulator.log";

/// The last lines of a log, for an error message.
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

/// Requests the health of the emulator. The emulator accepts connections before it is ready, and answers once it is.
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
    let credentials = Credentials::new(ACCESS_KEY, ACCESS_KEY, None, None, "facereel");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build()
}
