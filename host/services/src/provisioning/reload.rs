//! Has Asterisk read its configuration again.

use std::sync::{Mutex, PoisonError};

use voxtra_core::BoxFuture;

/// What reads the fragments, in the order to reload: endpoints before the dialplan that dials them.
pub const MODULES: [&str; 4] = ["res_pjsip.so", "pbx_config.so", "res_ari.so", "app_queue.so"];

/// A PBX whose modules can be reloaded: `PUT /ari/asterisk/modules/NAME` of ARI.
pub trait Reloader: Send + Sync {
    /// Reloads one module. It must answer within a limit of its own; the error is a sentence.
    fn reload<'a>(&'a self, module: &'a str) -> BoxFuture<'a, Result<(), String>>;
}

/// The modules that were not reloaded; the others were.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the files are written, but Asterisk has not reloaded {}", list(.failed))]
pub struct ReloadError {
    /// Each module and the reason.
    pub failed: Vec<(String, String)>,
}

fn list(failed: &[(String, String)]) -> String {
    failed.iter().map(|(module, why)| format!("{module} ({why})")).collect::<Vec<_>>().join(", ")
}

/// Reloads these modules in turn; one that fails does not keep the next from being tried.
///
/// # Errors
/// When one at least was not reloaded.
pub async fn reload(reloader: &dyn Reloader, modules: &[&str]) -> Result<(), ReloadError> {
    let mut failed = Vec::new();
    for module in modules {
        if let Err(why) = reloader.reload(module).await {
            failed.push(((*module).to_owned(), why));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(ReloadError { failed }) }
}

/// For tests: writes down what it is asked, and refuses what it is told to.
#[derive(Debug, Default)]
pub struct FakeReloader {
    refuses: Option<String>,
    asked: Mutex<Vec<String>>,
}

impl FakeReloader {
    /// One that reloads everything but this module.
    #[must_use]
    pub fn refusing(module: &str) -> Self {
        Self { refuses: Some(module.to_owned()), asked: Mutex::default() }
    }

    /// The modules asked for so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Reloader for FakeReloader {
    fn reload<'a>(&'a self, module: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(module.to_owned());
            if self.refuses.as_deref() == Some(module) { Err("there is no such module".into()) } else { Ok(()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_module_that_fails_does_not_keep_the_others_from_reloading() {
        let pbx = FakeReloader::refusing("pbx_config.so");
        let error = reload(&pbx, &MODULES).await.err();
        assert_eq!(pbx.asked(), MODULES);
        assert_eq!(error.map(|e| e.failed.len()), Some(1));
    }
}
