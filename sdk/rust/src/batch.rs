//! Many calls: numbers are called one after the other, several at a time, and each call is handled by a handler.

use crate::Error;
use crate::bindings::handler::voxtra::call::batches;
pub use crate::bindings::handler::voxtra::call::batches::BatchStatus;

/// A batch of calls.
///
/// ```no_run
/// use voxtra_sdk::prelude::*;
/// use voxtra_sdk::Batch;
///
/// fn remind(call: &Call) -> Result<()> {
///     let reminders = Batch::handled_by("reminder")
///         .name("reminders")
///         .concurrency(5)
///         .retries("busy=2@5m,no-answer=1@1h")
///         .number("1001", &[("date", "Monday")])
///         .number("1002", &[("date", "Tuesday")])
///         .start()?;
///     call.set_metadata("batch", reminders.id())?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    options: batches::BatchOptions,
    rows: Vec<batches::Row>,
}

impl Batch {
    /// A batch whose answered calls the tenant's handler of that name takes: one call at a time, ten begun in ten
    /// seconds, none tried again, nothing listened for machines.
    pub fn handled_by(handler: impl Into<String>) -> Self {
        Self {
            options: batches::BatchOptions {
                name: String::new(),
                handler: handler.into(),
                concurrency: 0,
                calls_per_10_s: 0,
                retries: String::new(),
                detect_machine: false,
            },
            rows: Vec::new(),
        }
    }

    /// Its name, for people and for the result.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// How many calls there are at one time.
    pub fn concurrency(mut self, calls: u32) -> Self {
        self.options.concurrency = calls;
        self
    }

    /// How many calls are begun in ten seconds.
    pub fn calls_per_10_s(mut self, calls: u32) -> Self {
        self.options.calls_per_10_s = calls;
        self
    }

    /// What is tried again, how often and after how long, such as `busy=2@5m,no-answer=1@1h`.
    pub fn retries(mut self, retries: impl Into<String>) -> Self {
        self.options.retries = retries.into();
        self
    }

    /// Finds out, of each call, whether a machine has answered.
    pub fn detect_machine(mut self) -> Self {
        self.options.detect_machine = true;
        self
    }

    /// Adds a number, and metadata of its call.
    pub fn number(mut self, number: impl Into<String>, metadata: &[(&str, &str)]) -> Self {
        self.rows.push(batches::Row { number: number.into(), metadata: crate::call::owned(metadata) });
        self
    }

    /// Begins to call.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when any row is no good, with a sentence for each; then none is called.
    /// [`Error::Denied`] when the tenant may not call there, or not in batches.
    pub fn start(&self) -> Result<StartedBatch, Error> {
        Ok(StartedBatch { id: batches::start(&self.rows, &self.options)? })
    }
}

/// A batch that was begun, here or in another call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedBatch {
    id: String,
}

impl StartedBatch {
    /// The batch of that id.
    pub fn of(id: impl Into<String>) -> Self {
        Self { id: id.into() }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the tenant has no such batch.
    pub fn status(&self) -> Result<BatchStatus, Error> {
        Ok(batches::status(&self.id)?)
    }

    /// Begins no more calls; those that are up go on.
    ///
    /// # Errors
    /// As [`StartedBatch::status`].
    pub fn cancel(&self) -> Result<(), Error> {
        Ok(batches::cancel(&self.id)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_reaches_the_host() {
        let batch = Batch::handled_by("reminder").concurrency(5).calls_per_10_s(3).number("1", &[("a", "b")]);
        assert_eq!((batch.options.handler.as_str(), batch.options.concurrency), ("reminder", 5));
        assert_eq!(batch.options.calls_per_10_s, 3);
        assert_eq!(batch.rows, [batches::Row { number: "1".into(), metadata: vec![("a".into(), "b".into())] }]);
    }
}
