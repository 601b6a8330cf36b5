//! Verbs on Stasis applications: what each of them is told about.

use serde_json::json;

use super::{AriClient, EventRules, typed};
use crate::error::AriError;
use crate::model::Application;

impl AriClient {
    /// All applications that are registered now.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn list_applications(&self) -> Result<Vec<Application>, AriError> {
        self.get_typed(&["applications"]).await
    }

    /// One application.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when nobody is registered as it; any other.
    pub async fn get_application(&self, application: &str) -> Result<Application, AriError> {
        self.get_typed(&["applications", application]).await
    }

    /// Lets an application be told about sources: `channel:ID`, `bridge:ID`, `endpoint:TECH/RESOURCE` or
    /// `deviceState:NAME`; without the last part, all of a kind. All or none.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when nobody is registered as the application; [`AriError::Unprocessable`] when a source is
    /// not there; [`AriError::BadRequest`] when it is of no known kind; any other.
    pub async fn subscribe(&self, application: &str, sources: &[&str]) -> Result<Application, AriError> {
        let body = json!({ "eventSource": sources });
        self.post_typed(&["applications", application, "subscription"], &body).await
    }

    /// Ends what [`AriClient::subscribe`] started. All or none.
    ///
    /// # Errors
    /// [`AriError::Conflict`] when one was not subscribed to; [`AriError::InvalidInput`] for a source with a comma,
    /// which ARI's query cannot hold; otherwise as [`AriClient::subscribe`].
    pub async fn unsubscribe(&self, application: &str, sources: &[&str]) -> Result<Application, AriError> {
        if let Some(source) = sources.iter().find(|source| source.contains(',')) {
            let shown = crate::error::quote(source);
            return Err(AriError::invalid(format!(
                "the event source {shown:?} holds a comma; it cannot be named in ARI"
            )));
        }
        let path = ["applications", application, "subscription"];
        typed(&path, self.delete(&path, &[("eventSource", &sources.join(","))]).await?)
    }

    /// Says which events an application gets.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when nobody is registered as it; any other.
    pub async fn set_event_filter(&self, application: &str, rules: &EventRules) -> Result<Application, AriError> {
        let path = ["applications", application, "eventFilter"];
        typed(&path, self.put(&path, &[], Some(&rules.body())).await?)
    }
}
