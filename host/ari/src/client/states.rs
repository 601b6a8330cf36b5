//! Verbs on device states and mailboxes: the lamps of telephones.

use serde_json::json;

use super::AriClient;
use crate::error::AriError;
use crate::model::{DeviceState, DeviceStateValue, Mailbox};

impl AriClient {
    /// The device states that ARI controls: those named `Stasis:…`.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn list_device_states(&self) -> Result<Vec<DeviceState>, AriError> {
        self.get_typed(&["deviceStates"]).await
    }

    /// The state of a device of any technology, such as `PJSIP/100` or `Stasis:door`. A device that nobody knows is
    /// [`DeviceStateValue::Unknown`] or [`DeviceStateValue::Invalid`], not an error.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn get_device_state(&self, device: &str) -> Result<DeviceState, AriError> {
        self.get_typed(&["deviceStates", device]).await
    }

    /// Sets the state of a device whose name starts with `Stasis:`, which makes it when it is new. Hints in the dialplan
    /// follow it, and with them the lamps of telephones.
    ///
    /// # Errors
    /// [`AriError::Conflict`] for a device of another technology; any other.
    pub async fn set_device_state(&self, device: &str, state: &DeviceStateValue) -> Result<(), AriError> {
        let body = json!({ "deviceState": state.wire() });
        self.put_done(&["deviceStates", device], Some(&body)).await
    }

    /// Removes a device whose name starts with `Stasis:`. One that is not there is success.
    ///
    /// # Errors
    /// [`AriError::Conflict`] for a device of another technology; any other but not found.
    pub async fn delete_device_state(&self, device: &str) -> Result<(), AriError> {
        self.end(&["deviceStates", device], &[]).await
    }

    /// All mailboxes kept by ARI (module `res_ari_mailboxes.so`, with `res_mwi_external.so`, which takes the place of
    /// Asterisk's own voicemail).
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn list_mailboxes(&self) -> Result<Vec<Mailbox>, AriError> {
        self.get_typed(&["mailboxes"]).await
    }

    /// One mailbox.
    ///
    /// # Errors
    /// [`AriError::NotFound`] when there is no such mailbox; any other.
    pub async fn get_mailbox(&self, mailbox: &str) -> Result<Mailbox, AriError> {
        self.get_typed(&["mailboxes", mailbox]).await
    }

    /// Says how many messages wait in a mailbox, which makes it when it is new; telephones are notified.
    ///
    /// # Errors
    /// Any [`AriError`].
    pub async fn set_mailbox(&self, mailbox: &str, old_messages: u32, new_messages: u32) -> Result<(), AriError> {
        let body = json!({ "oldMessages": old_messages, "newMessages": new_messages });
        self.put_done(&["mailboxes", mailbox], Some(&body)).await
    }

    /// Removes a mailbox. One that is not there is success.
    ///
    /// # Errors
    /// Any [`AriError`] but not found.
    pub async fn delete_mailbox(&self, mailbox: &str) -> Result<(), AriError> {
        self.end(&["mailboxes", mailbox], &[]).await
    }
}
