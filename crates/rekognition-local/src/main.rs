//! The stand-in as a separate program.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use face_detection::CenterFace;
use rekognition_local::{Config, Server};
use tokio::signal::unix::{SignalKind, signal};

/// Answers `StartFaceDetection` and `GetFaceDetection` on 127.0.0.1 until Ctrl-C or SIGTERM.
///
/// A POST of JSON to /_faults injects a fault.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The endpoint of S3 and SNS, for example <http://127.0.0.1:4566>.
    #[arg(long, value_name = "URL")]
    aws_endpoint: String,
    /// The CenterFace model, centerface.onnx.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// The port to listen on; 0 for any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The region of the bucket and the topic.
    #[arg(long, default_value = "us-east-1")]
    region: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match serve(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rekognition-local: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let detector = Arc::new(CenterFace::load(&options.model)?);
    let mut config = Config::new(options.aws_endpoint, detector);
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    config.region = options.region;
    let server = Server::start(config).await?;
    println!("{}", server.url());
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    server.stop().await;
    Ok(())
}
