//! The interface `logging`.

use wasmtime::Result;

use super::generated::voxtra::call::logging::{Host, Level};
use crate::store::CallStore;

impl Host for CallStore {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        self.call.log(level.into(), &message, &fields);
        Ok(())
    }
}
