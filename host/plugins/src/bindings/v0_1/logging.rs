//! The interface `logging`.

use wasmtime::Result;

use super::generated::voxtra::call::logging::{Host, Level};
use crate::store::InstanceData;

impl Host for InstanceData {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        self.lines.log(level.into(), &message, &fields);
        Ok(())
    }
}
