//! Verbs on Asterisk's logs and its dynamic configuration.

use serde_json::json;

use super::{AriClient, typed};
use crate::error::AriError;
use crate::model::{ConfigField, LogChannel};

impl AriClient {
    /// All logs that Asterisk writes.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn list_log_channels(&self) -> Result<Vec<LogChannel>, AriError> {
        self.get_typed(&["asterisk", "logging"]).await
    }

    /// Starts a log: a file in Asterisk's log folder, with levels separated by commas (`notice,warning,error`). It ends
    /// with Asterisk, or when the logger is reloaded.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when there is one of that name; any other.
    pub async fn add_log_channel(&self, name: &str, levels: &str) -> Result<(), AriError> {
        let body = json!({ "configuration": levels });
        self.post_done(&["asterisk", "logging", name], Some(&body)).await
    }

    /// Ends a log; its file stays. One that is not there is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn delete_log_channel(&self, name: &str) -> Result<(), AriError> {
        self.end(&["asterisk", "logging", name], &[]).await
    }

    /// Begins a new file of a log, the old one keeping its content under another name.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is no such log; any other.
    pub async fn rotate_log_channel(&self, name: &str) -> Result<(), AriError> {
        self.put_done(&["asterisk", "logging", name, "rotate"], None).await
    }

    /// All fields of a configuration object, such as class `res_pjsip`, type `endpoint`, id `100`, of a source that
    /// `sorcery.conf` names (files can be read, not written).
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is no such class, type or object; any other.
    pub async fn get_dynamic_config(&self, class: &str, kind: &str, id: &str) -> Result<Vec<ConfigField>, AriError> {
        self.get_typed(&["asterisk", "config", "dynamic", class, kind, id]).await
    }

    /// Makes a configuration object or changes the given fields of one, and returns all its fields.
    ///
    /// # Errors
    /// [`AriError::Forbidden`] when its source cannot be written or refuses a field; [`AriError::NotFound`] when there
    /// is no such class or type; any other.
    pub async fn put_dynamic_config(
        &self,
        class: &str,
        kind: &str,
        id: &str,
        fields: &[ConfigField],
    ) -> Result<Vec<ConfigField>, AriError> {
        let path = ["asterisk", "config", "dynamic", class, kind, id];
        typed(&path, self.put(&path, &[], Some(&json!({ "fields": fields }))).await?)
    }

    /// Removes a configuration object. One that is not there is success.
    ///
    /// # Errors
    /// [`AriError::Forbidden`] when its source cannot be written; any other but not found.
    pub async fn delete_dynamic_config(&self, class: &str, kind: &str, id: &str) -> Result<(), AriError> {
        self.end(&["asterisk", "config", "dynamic", class, kind, id], &[]).await
    }
}
