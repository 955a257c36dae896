//! The Lambda function behind the `ListPages` state.

use lambdas::{
    aws::Clients,
    list_pages::list_pages,
    serve::{NoConfig, serve},
};

fn main() -> Result<(), lambda_runtime::Error> {
    serve(async |clients: &Clients, NoConfig {}: &NoConfig, request| list_pages(clients, request).await)
}
