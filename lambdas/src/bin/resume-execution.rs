//! The Lambda function behind the subscription to Rekognition's completions.

use lambdas::{resume_execution::resume_execution, serve::serve};

fn main() -> Result<(), lambda_runtime::Error> {
    serve(resume_execution)
}
