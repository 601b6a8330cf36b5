//! Requests that run on a runtime of the host's, whoever waits for them: guests' own threads stand back behind all others.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use voxtra_core::BoxFuture;
use voxtra_core::http::{Http, HttpError, HttpRequest, HttpResponse, Reason};

use super::CallEgress;

impl CallEgress {
    /// The same way out, but requests run on that runtime.
    pub fn on(self, runtime: &Handle) -> Arc<dyn Http> {
        Arc::new(Elsewhere { way: self, runtime: runtime.clone() })
    }
}

struct Elsewhere {
    way: CallEgress,
    runtime: Handle,
}

impl Http for Elsewhere {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        let (way, runtime) = (self.way.clone(), self.runtime.clone());
        Box::pin(async move {
            let mut asked = Asked(runtime.spawn(way.send(request)));
            let lost = || HttpError::new(Reason::Response, "the host lost the request; this is a fault of the host");
            (&mut asked.0).await.unwrap_or_else(|_| Err(lost()))
        })
    }
}

/// A request that ends when nobody waits for it any more.
struct Asked(JoinHandle<Result<HttpResponse, HttpError>>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}
