//! Verbs on Asterisk itself and its modules. Its logs and configuration are in `config`.

use serde_json::json;

use super::AriClient;
use crate::error::AriError;
use crate::model::{AsteriskInfo, Module, Ping};

impl AriClient {
    /// Is Asterisk there, and does it accept user and password?
    ///
    /// # Errors
    /// [`AriError::Unauthorised`], [`AriError::Transport`], [`AriError::Timeout`],
    /// or [`AriError::Malformed`] when something else answers at the address.
    pub async fn ping(&self) -> Result<Ping, AriError> {
        self.get_typed(&["asterisk", "ping"]).await
    }

    /// Version, entity id, limits, start time.
    ///
    /// # Errors
    /// As [`AriClient::ping`].
    pub async fn info(&self) -> Result<AsteriskInfo, AriError> {
        self.get_typed(&["asterisk", "info"]).await
    }

    /// A module by file name (`chan_websocket.so`), `None` when it is not loaded.
    ///
    /// # Errors
    /// As [`AriClient::ping`].
    pub async fn module(&self, name: &str) -> Result<Option<Module>, AriError> {
        match self.get_typed(&["asterisk", "modules", name]).await {
            Ok(module) => Ok(Some(module)),
            Err(AriError::NotFound { .. }) => Ok(None),
            // 409: known, but its information could not be retrieved: not usable.
            Err(AriError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a module read its configuration again (`res_pjsip.so`, `pbx_config.so`). Asterisk answers when the
    /// module has done so; what is wrong in the files is told in its log only.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when it is not loaded; [`AriError::Conflict`] when it cannot reload (now); any other.
    pub async fn reload_module(&self, name: &str) -> Result<(), AriError> {
        self.put_done(&["asterisk", "modules", name], None).await
    }

    /// All modules that are loaded.
    ///
    /// # Errors
    /// As [`AriClient::ping`].
    pub async fn list_modules(&self) -> Result<Vec<Module>, AriError> {
        self.get_typed(&["asterisk", "modules"]).await
    }

    /// Loads a module.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when it cannot be loaded or is loaded already; any other.
    pub async fn load_module(&self, name: &str) -> Result<(), AriError> {
        self.post_done(&["asterisk", "modules", name], None).await
    }

    /// Unloads a module. One that is not loaded is success.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when it is in use or cannot be unloaded; any other but not found.
    pub async fn unload_module(&self, name: &str) -> Result<(), AriError> {
        self.end(&["asterisk", "modules", name], &[]).await
    }

    /// Reads a global variable, or a dialplan function that needs no channel. One that is not set is empty, as in the
    /// dialplan.
    ///
    /// # Errors
    /// [`AriError::BadRequest`] for an empty name; any other.
    pub async fn get_global_variable(&self, name: &str) -> Result<String, AriError> {
        Ok(self.variable_at(&["asterisk", "variable"], name).await?.unwrap_or_default())
    }

    /// Sets a global variable, or a dialplan function that needs no channel.
    ///
    /// # Errors
    /// [`AriError::BadRequest`] for an empty name; any other.
    pub async fn set_global_variable(&self, name: &str, value: &str) -> Result<(), AriError> {
        let body = json!({ "variable": name, "value": value });
        self.post_done(&["asterisk", "variable"], Some(&body)).await
    }
}
