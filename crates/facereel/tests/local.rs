//! Tests of the binary on the local stack of `facereel up`: the commands that it prints, signals, and the processes that remain.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use aws_sdk_s3::{config::Credentials, primitives::ByteStream};
use rustix::process::{Pid, Signal, kill_process};

/// The size of a part of an upload.
const PART: usize = 8 * 1024 * 1024;

/// The timeout of every wait. Only a command that hangs reaches it, or one that still builds the functions.
const LIMIT: Duration = Duration::from_mins(5);

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

/// The ids of the running processes whose parent is one of these, and of their process groups.
fn descendants(parent: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pgid=,ppid=,pid=,stat="]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let processes: Vec<[u32; 3]> = text
        .lines()
        .filter(|line| !line.trim_end().contains(" Z"))
        .map(|line| {
            let mut ids = line.split_whitespace().take(3).map(|id| id.parse().unwrap());
            [ids.next().unwrap(), ids.next().unwrap(), ids.next().unwrap()]
        })
        .collect();
    let children: Vec<_> = processes.iter().filter(|[_, ppid, _]| *ppid == parent).map(|[_, _, pid]| *pid).collect();
    processes.iter().filter(|[group, _, _]| children.contains(group)).map(|[_, _, pid]| *pid).collect()
}

fn is_running(pid: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    !String::from_utf8(output.stdout).unwrap().trim_start().starts_with('Z') && output.status.success()
}

/// A running `facereel up`.
struct Up {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Everything up to the last printed command.
    guide: Vec<String>,
}

/// The lines of an output, as they are written.
fn lines(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

impl Up {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_facereel"))
            .arg("up")
            .env_remove("CARGO")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let mut up = Self { child, lines, guide: Vec::new() };
        let mut guide = Vec::new();
        while guide.last().is_none_or(|line: &String| !line.contains(" logs ")) {
            guide.push(up.line());
        }
        up.guide = guide;
        up
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("the command writes another line")
    }

    /// The next line that contains this text.
    fn line_with(&self, text: &str) -> String {
        std::iter::repeat_with(|| self.line()).find(|line| line.contains(text)).unwrap()
    }

    /// The printed command that contains this text.
    fn command(&self, text: &str) -> &str {
        let mut commands = self.guide.iter().filter_map(|line| line.strip_prefix("  "));
        commands.find(|command| command.contains(text)).unwrap_or_else(|| panic!("{text}: {:#?}", self.guide))
    }

    /// Runs a command line in a shell with the printed environment.
    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{}\nexec {command}", self.command("export "))]);
        shell.env_clear().envs([("HOME", "/nowhere"), ("AWS_EC2_METADATA_DISABLED", "true")]);
        shell.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        shell
    }

    /// Runs a printed command. It must succeed.
    fn run(&self, text: &str) -> String {
        let output = self.shell(self.command(text)).output().unwrap();
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn endpoint(&self) -> &str {
        let export = self.command("export ");
        export.split_whitespace().find_map(|word| word.strip_prefix("AWS_ENDPOINT_URL=")).unwrap()
    }

    /// A client as an SDK makes it from the printed environment.
    fn s3(&self) -> aws_sdk_s3::Client {
        let value = |name: &str| {
            let export = self.command("export ");
            let word = export.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            word.unwrap_or_else(|| panic!("{name}: {export}")).to_owned()
        };
        let (id, secret) = (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"));
        let config = aws_sdk_s3::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_s3::config::Region::new(value("AWS_REGION")))
            .credentials_provider(Credentials::new(id, secret, None, None, "test"))
            .endpoint_url(value("AWS_ENDPOINT_URL"));
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the process has ended, and returns its exit status.
fn exit_status(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the process does not end");
        thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn the_printed_commands_work_and_ctrl_c_ends_every_process() {
    let mut up = Up::start();
    assert!(up.endpoint().starts_with("http://127.0.0.1:"), "{}", up.endpoint());

    // As the AWS CLI does; it need not be installed.
    let copy = up.command("aws s3 cp ");
    let [_, _, _, file, to] = copy.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{copy}") };
    let (bucket, key) = to.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let body = ByteStream::from_path(file).await.unwrap();
    up.s3().put_object().bucket(bucket).key(key).body(body).send().await.unwrap();

    let uploaded = up.run(" upload ");
    assert!(uploaded.contains("faces    33") && uploaded.contains("results  s3://facereel-results/"), "{uploaded}");
    let succeeded = up.line_with("succeeded  sample.mp4");
    assert!(succeeded.contains("33 faces  s3://facereel-results/results/sample.mp4/"), "{succeeded}");
    assert!(up.run(" logs ").contains("the result is complete"), "a line of the last function");
    let status = up.run(" status");
    assert!(status.contains("0 uploads, 0 completions"), "{status}");

    // A failure has its error and cause, and the followed log shows it as it is written.
    let facereel = env!("CARGO_BIN_EXE_facereel");
    let mut follow =
        up.shell(&format!("{facereel} logs --follow no-video.mp4")).stdout(Stdio::piped()).spawn().unwrap();
    let followed = lines(follow.stdout.take().unwrap());
    up.s3().put_object().bucket(bucket).key("no-video.mp4").body(b"text".to_vec().into()).send().await.unwrap();
    let failed = up.line_with("failed     no-video.mp4");
    assert!(failed.contains("NotAVideo: s3://facereel-uploads/no-video.mp4 does not begin"), "{failed}");
    let line = followed.recv_timeout(LIMIT).unwrap();
    assert!(line.contains("the video cannot be analysed"), "{line}");
    interrupt(&follow);
    assert_eq!(exit_status(&mut follow), Some(0));

    for command in ["replay --dry-run", "replay --dead-letters", "backfill --dry-run s3://facereel-uploads/"] {
        let output = up.shell(&format!("{facereel} {command}")).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
    let results = succeeded.split_whitespace().last().unwrap();
    assert_view(&up, &format!("{facereel} view --no-open {results}"));

    let waiting = format!("{facereel} upload --wait --to s3://facereel-uploads/waiting.mp4 {file}");
    assert_the_wait_can_be_interrupted(up.shell(&waiting));
    up.line_with("succeeded  waiting.mp4");

    let processes = descendants(up.child.id());
    assert!(!processes.is_empty());
    interrupt(&up.child);
    assert_eq!(exit_status(&mut up.child), Some(0));
    let left: Vec<_> = processes.into_iter().filter(|pid| is_running(*pid)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(TcpStream::connect(up.endpoint().trim_start_matches("http://")).is_err());
}

/// Checks that Ctrl-C ends only the command that waits for an execution.
fn assert_the_wait_can_be_interrupted(mut command: Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    stderr.find(|line| line.starts_with("Waiting for the execution")).expect("the command waits");
    interrupt(&child);
    let rest: Vec<_> = stderr.collect();
    assert_eq!(exit_status(&mut child), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("the analysis continues without this command")), "{rest:?}");
}

/// Checks that `facereel view` shows the results.
fn assert_view(up: &Up, command: &str) {
    let mut view = up.shell(command).stdout(Stdio::piped()).spawn().unwrap();
    let url = lines(view.stdout.take().unwrap()).recv_timeout(LIMIT).unwrap();
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let size = fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/sample-clip/sample.mp4"));
    let size = format!("\"video_bytes\":{}", size.unwrap().len());
    for (name, content) in [("manifest.json", "sample.mp4"), ("session.json", size.as_str())] {
        let mut page = TcpStream::connect(address).unwrap();
        write!(page, "GET /results/0/{name} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
        let mut response = String::new();
        page.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.0 200") || response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(response.contains(content), "{response}");
    }
    interrupt(&view);
    assert_eq!(exit_status(&mut view), Some(0));
}

#[test]
fn a_port_in_use_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_facereel")).args(["up", "--port", &port]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("error: cannot listen on 127.0.0.1:{port}: ")), "{stderr}");
    assert!(stderr.contains("choose another --port"), "{stderr}");
    assert!(!stderr.contains("Setting up"), "{stderr}");
}

#[test]
fn the_end_of_the_emulator_is_reported() {
    let mut up = Up::start();
    let mut stderr = up.child.stderr.take().unwrap();
    for pid in descendants(up.child.id()) {
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    assert_eq!(exit_status(&mut up.child), Some(1));
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    let (_, log) =
        text.trim_end().split_once("the local stack is stopped, and the emulator's log is kept in ").unwrap();
    assert!(Path::new(log).is_file(), "{text}");
    fs::remove_dir_all(Path::new(log).parent().unwrap()).unwrap();
}

/// A proxy that counts the parts that are sent through it, and forwards 4 MiB a second on each connection.
struct SlowProxy {
    url: String,
    parts: Arc<AtomicUsize>,
}

impl SlowProxy {
    fn start(endpoint: &str) -> Self {
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let parts = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&parts);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, counter) = (TcpStream::connect(&upstream).unwrap(), Arc::clone(&counter));
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || forward(client, server, |sent| count_parts(sent, &counter)));
                thread::spawn(move || forward(from_server, to_client, |_| {}));
            }
        });
        Self { url, parts }
    }

    fn parts(&self) -> usize {
        self.parts.load(Ordering::SeqCst)
    }
}

/// Forwards until one side is closed. `see` gets what was sent and what it has left of it before.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn forward(mut from: TcpStream, mut to: TcpStream, mut see: impl FnMut(&mut Vec<u8>)) {
    const CHUNK: usize = 64 * 1024;
    let (mut chunk, mut seen) = (vec![0; CHUNK], Vec::new());
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        seen.extend_from_slice(&chunk[..read]);
        see(&mut seen);
        if to.write_all(&chunk[..read]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(16).mul_f64(read as f64 / CHUNK as f64));
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Counts the requests to upload a part, and keeps only the end of what was sent, in which a name can have begun.
fn count_parts(sent: &mut Vec<u8>, counter: &AtomicUsize) {
    const NAME: &[u8] = b"x-id=UploadPart&";
    while let Some(at) = sent.windows(NAME.len()).position(|window| window == NAME) {
        counter.fetch_add(1, Ordering::SeqCst);
        sent.drain(..at + NAME.len());
    }
    sent.drain(..sent.len().saturating_sub(NAME.len() - 1));
}

fn upload(up: &Up, endpoint: &str, file: &Path) -> Child {
    let command =
        format!("env AWS_ENDPOINT_URL={endpoint} {} upload {}", env!("CARGO_BIN_EXE_facereel"), file.display());
    up.shell(&command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test]
async fn an_upload_that_was_interrupted_sends_only_the_missing_parts_again() {
    const PARTS: usize = 7;
    let up = Up::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.mp4");
    // Not a video, so that it is not analysed. Each part is different.
    let content: Vec<u8> = (0..PARTS * PART).map(|at| u8::try_from(at / PART).unwrap()).collect();
    fs::write(&file, &content).unwrap();

    let first = SlowProxy::start(up.endpoint());
    let child = upload(&up, &first.url, &file);
    let deadline = Instant::now() + LIMIT;
    // Four parts are sent at the same time, so at least one is stored when the sixth one starts.
    while first.parts() < 6 {
        assert!(Instant::now() < deadline, "{} parts", first.parts());
        thread::sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("run the same command again to continue"), "{stderr}");

    let s3 = up.s3();
    let unfinished = s3.list_multipart_uploads().bucket("facereel-uploads").send().await.unwrap();
    let id = unfinished.uploads()[0].upload_id().unwrap();
    let stored = s3.list_parts().bucket("facereel-uploads").key("large.mp4").upload_id(id).send().await.unwrap();
    let stored = stored.parts().len();
    assert!((1..PARTS).contains(&stored), "{stored} parts are stored");

    let second = SlowProxy::start(up.endpoint());
    let output = upload(&up, &second.url, &file).wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(second.parts(), PARTS - stored);
    let object = s3.get_object().bucket("facereel-uploads").key("large.mp4").send().await.unwrap();
    assert!(object.body.collect().await.unwrap().to_vec() == content, "the object is not the file");
}
