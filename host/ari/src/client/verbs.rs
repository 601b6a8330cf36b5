//! The few shapes that nearly all verbs have.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::AriClient;
use crate::error::{AriError, gone_is_done};

impl AriClient {
    pub(super) async fn get_typed<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, AriError> {
        typed(path, self.get(path, &[]).await?)
    }

    pub(super) async fn post_typed<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, AriError> {
        typed(path, self.post(path, &[], Some(body)).await?)
    }

    pub(super) async fn post_done(&self, path: &[&str], body: Option<&Value>) -> Result<(), AriError> {
        self.post(path, &[], body).await.map(drop)
    }

    pub(super) async fn put_done(&self, path: &[&str], body: Option<&Value>) -> Result<(), AriError> {
        self.put(path, &[], body).await.map(drop)
    }

    /// `DELETE`, where something that is not there (any more) is success.
    pub(super) async fn end(&self, path: &[&str], query: &[(&str, &str)]) -> Result<(), AriError> {
        gone_is_done(self.delete(path, query).await.map(drop))
    }

    /// `POST` that ends something, where something that is not there (any more) is success.
    pub(super) async fn end_by_post(&self, path: &[&str]) -> Result<(), AriError> {
        gone_is_done(self.post_done(path, None).await)
    }

    /// A variable of a channel or a bridge; `None` when it is not set.
    pub(super) async fn variable_at(&self, path: &[&str], name: &str) -> Result<Option<String>, AriError> {
        match self.get(path, &[("variable", name)]).await {
            Ok(answer) => match answer.get("value") {
                Some(Value::String(value)) => Ok(Some(value.clone())),
                _ => Err(AriError::malformed(&shown(path), "it has no text \"value\"")),
            },
            // Both are 404; only the message tells a missing variable from a missing channel or bridge.
            Err(AriError::NotFound { message, .. }) if message.contains("variable") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Several variables of a channel or a bridge.
    pub(super) async fn variables_at(
        &self,
        path: &[&str],
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, AriError> {
        if let Some(name) = names.iter().find(|name| name.contains(',')) {
            let name = crate::error::quote(name);
            return Err(AriError::invalid(format!("the variable {name:?} holds a comma; read it alone")));
        }
        let answer = self.get(path, &[("variables", &names.join(","))]).await?;
        let variables = answer.get("variables").cloned().unwrap_or(Value::Null);
        typed::<BTreeMap<String, Option<String>>>(path, variables)
            .map(|all| all.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
    }
}

/// An answer as what ARI promises it to be.
pub(super) fn typed<T: DeserializeOwned>(path: &[&str], value: Value) -> Result<T, AriError> {
    serde_json::from_value(value)
        .map_err(|error| AriError::malformed(&shown(path), crate::error::quote(&error.to_string())))
}

/// Arguments as a request's body.
pub(super) fn to_body<T: Serialize>(arguments: &T) -> Result<Value, AriError> {
    serde_json::to_value(arguments)
        .map_err(|error| AriError::invalid(format!("arguments cannot be written as JSON: {error}")))
}

fn shown(path: &[&str]) -> String {
    crate::error::quote(&format!("/ari/{}", path.join("/")))
}
