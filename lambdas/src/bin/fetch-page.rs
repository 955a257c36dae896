//! The Lambda function behind the iterations of the `ReadPages` state.

use lambdas::{fetch_page::fetch_page, serve::serve};

fn main() -> Result<(), lambda_runtime::Error> {
    serve(fetch_page)
}
