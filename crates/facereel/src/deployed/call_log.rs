//! The calls to AWS, on standard error, for `--verbose`.

use std::time::Instant;

use aws_sdk_sfn::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef},
    },
    error::BoxError,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::terminal::detail;

/// Writes a line for each call: the service, the operation, the HTTP status of the last attempt and the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLog;

/// When a call started.
#[derive(Debug)]
struct Started(Instant);

impl Storable for Started {
    type Storer = StoreReplace<Self>;
}

impl Intercept for CallLog {
    fn name(&self) -> &'static str {
        "CallLog"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Started(Instant::now()));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        detail(|| {
            let call = config.load::<Metadata>().map(|call| format!("{} {}", call.service(), call.name()));
            let status =
                context.response().map_or_else(|| "no response".to_owned(), |response| response.status().to_string());
            let ms = config.load::<Started>().map_or(0, |started| started.0.elapsed().as_millis());
            format!("{}: {status}, {ms} ms", call.unwrap_or_default())
        });
        Ok(())
    }
}
