//! Verbs on sounds: the prompts that Asterisk has.

use super::{AriClient, typed};
use crate::error::AriError;
use crate::model::Sound;

impl AriClient {
    /// The prompts that Asterisk has, in this language and this format (`None`: any); empty when none
    /// is.
    ///
    /// # Errors
    /// [`AriError::Malformed`] for more than 4 MiB of them: ask for one language and format; any other.
    pub async fn list_sounds(&self, language: Option<&str>, format: Option<&str>) -> Result<Vec<Sound>, AriError> {
        let path = ["sounds"];
        let query: Vec<(&str, &str)> = [("lang", language), ("format", format)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        match self.get(&path, &query).await {
            Ok(sounds) => typed(&path, sounds),
            Err(error) if error.gone() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// One prompt, by what `sound:` takes.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is none; any other.
    pub async fn get_sound(&self, sound: &str) -> Result<Sound, AriError> {
        self.get_typed(&["sounds", sound]).await
    }
}
