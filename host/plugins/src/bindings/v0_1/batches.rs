//! The interface `batches`.

use voxtra_core::verbs;
use wasmtime::Result;

use super::generated::voxtra::call::batches::{BatchOptions, BatchStatus, Host, Row};
use super::generated::voxtra::call::types::Error;
use crate::retained::bytes_of_pairs;
use crate::store::InstanceData;

impl Host for InstanceData {
    async fn start(&mut self, rows: Vec<Row>, options: BatchOptions) -> Result<Result<String, Error>> {
        self.pace.turn().await;
        let bytes = rows.iter().fold(0_usize, |sum, row| {
            sum.saturating_add(row.number.len()).saturating_add(bytes_of_pairs(&row.metadata))
        });
        if let Err(full) = self.retained.pass_on(bytes) {
            return Ok(Err(full.into()));
        }
        Ok(self.tenant()?.batch_start(request(rows, options)).await.map_err(Error::from))
    }

    async fn status(&mut self, id: String) -> Result<Result<BatchStatus, Error>> {
        self.pace.turn().await;
        Ok(self.tenant()?.batch_status(id).await.map(BatchStatus::from).map_err(Error::from))
    }

    async fn cancel(&mut self, id: String) -> Result<Result<(), Error>> {
        self.pace.turn().await;
        Ok(self.tenant()?.batch_cancel(id).await.map_err(Error::from))
    }
}

fn request(rows: Vec<Row>, options: BatchOptions) -> verbs::BatchRequest {
    verbs::BatchRequest {
        name: options.name,
        handler: options.handler,
        concurrency: options.concurrency,
        calls_per_10_s: options.calls_per_10_s,
        retries: options.retries,
        detect_machine: options.detect_machine,
        rows: rows.into_iter().map(|row| verbs::BatchRow { number: row.number, metadata: row.metadata }).collect(),
    }
}

impl From<verbs::BatchStatus> for BatchStatus {
    fn from(status: verbs::BatchStatus) -> Self {
        Self {
            total: status.total,
            done: status.done,
            live: status.live,
            answered: status.answered,
            failed: status.failed,
            finished: status.finished,
        }
    }
}
