//! Verbs on Asterisk itself.

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

    /// Version, entity id, start time.
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
}
