//! Verbs on endpoints: who can be called, and messages to them outside any call.

use super::{AriClient, SendMessage, SendRefer, to_body};
use crate::error::AriError;
use crate::model::Endpoint;

impl AriClient {
    /// All endpoints of all technologies.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn list_endpoints(&self) -> Result<Vec<Endpoint>, AriError> {
        self.get_typed(&["endpoints"]).await
    }

    /// The endpoints of a technology, such as `PJSIP`.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is no such technology; any other.
    pub async fn list_endpoints_of(&self, technology: &str) -> Result<Vec<Endpoint>, AriError> {
        self.get_typed(&["endpoints", technology]).await
    }

    /// One endpoint, by its technology and its name there.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is no such endpoint; any other.
    pub async fn get_endpoint(&self, technology: &str, resource: &str) -> Result<Endpoint, AriError> {
        self.get_typed(&["endpoints", technology, resource]).await
    }

    /// Sends a text message to a URI with its technology, such as `pjsip:200@example.com`. Whether it arrives is not
    /// reported. The technology's messaging must be loaded (for SIP, `res_pjsip_messaging.so`).
    ///
    /// # Errors
    /// [`AriError::BadRequest`] for a URI of no technology; [`AriError::NotFound`] for no such endpoint; any other.
    pub async fn send_message(&self, to: &str, message: &SendMessage) -> Result<(), AriError> {
        let mut body = to_body(message)?;
        insert(&mut body, "to", to);
        self.put_done(&["endpoints", "sendMessage"], Some(&body)).await
    }

    /// Sends a text message to an endpoint, by its technology and its name there.
    ///
    /// # Errors
    /// As [`AriClient::send_message`].
    pub async fn send_message_to_endpoint(
        &self,
        technology: &str,
        resource: &str,
        message: &SendMessage,
    ) -> Result<(), AriError> {
        let body = to_body(message)?;
        self.put_done(&["endpoints", technology, resource, "sendMessage"], Some(&body)).await
    }

    /// Asks a URI with its technology to call somebody (18.20, 20.5 and later). Whether it does is not reported.
    ///
    /// # Errors
    /// [`AriError::BadRequest`] when it cannot be asked; any other.
    pub async fn send_refer(&self, to: &str, refer: &SendRefer) -> Result<(), AriError> {
        let mut body = to_body(refer)?;
        insert(&mut body, "to", to);
        self.post_done(&["endpoints", "refer"], Some(&body)).await
    }

    /// Asks an endpoint, by its technology and its name there, to call somebody (18.20, 20.5 and later).
    ///
    /// # Errors
    /// As [`AriClient::send_refer`].
    pub async fn send_refer_to_endpoint(
        &self,
        technology: &str,
        resource: &str,
        refer: &SendRefer,
    ) -> Result<(), AriError> {
        let body = to_body(refer)?;
        self.post_done(&["endpoints", technology, resource, "refer"], Some(&body)).await
    }
}

fn insert(body: &mut serde_json::Value, name: &str, value: &str) {
    if let serde_json::Value::Object(fields) = body {
        fields.insert(name.to_owned(), serde_json::Value::String(value.to_owned()));
    }
}
