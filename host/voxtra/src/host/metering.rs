//! The records of calls: kept as long as the configuration says.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use voxtra_services::database::{Database, DatabaseError};
use voxtra_services::metering::{MeterOptions, MeterStore};

use crate::config::Config;

/// How often records that are too old are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// How long the last records may take to reach the disk when the host stops.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// Opens the records of this database, and has the old ones removed now and every hour.
pub(crate) async fn open(config: &Config, database: Database, runtime: &Handle) -> Result<MeterStore, DatabaseError> {
    let meters = MeterStore::open(database, options(config)).await?;
    runtime.spawn(sweep(meters.clone()));
    Ok(meters)
}

fn options(config: &Config) -> MeterOptions {
    let written = &config.root.metering;
    MeterOptions {
        retention_days: Some(written.retention_days).filter(|days| *days > 0),
        max_waiting: usize::try_from(written.max_waiting).unwrap_or(usize::MAX),
    }
}

async fn sweep(meters: MeterStore) {
    loop {
        match meters.sweep().await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old records of calls are removed"),
            Err(error) => tracing::warn!(%error, "old records of calls cannot be removed"),
        }
        sleep(SWEEP_EVERY).await;
    }
}

/// Brings the last records to the disk: after the last call, before the process ends.
pub(crate) async fn flush(meters: &MeterStore) {
    let why = match timeout(FLUSH_LIMIT, meters.flush()).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the disk took longer than {} s", FLUSH_LIMIT.as_secs()),
    };
    tracing::error!(lost = meters.stats().waiting, why, "the last records of calls are not kept");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_days_are_for_ever() {
        let options = |text: &str| super::options(&Config::parse(text, None, &|_| None).unwrap());
        assert_eq!(options(""), MeterOptions::default());
        assert_eq!(options("metering: {retention_days: 0}").retention_days, None);
        let some = options("metering: {retention_days: 7, max_waiting: 10}");
        assert_eq!(some, MeterOptions { retention_days: Some(7), max_waiting: 10 });
    }
}
