//! What a loader tells, and to whom.

use voxtra_artifacts::HandlerKey;
use voxtra_directory::Problem;

use crate::snapshot::Snapshot;

/// Something that the operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// New calls get another version.
    Swapped {
        /// Whose and which.
        key: HandlerKey,
        /// The first digits of the version before; `None`: there was none.
        from: Option<String>,
        /// And of the new one.
        to: String,
        /// Who has signed it.
        signed_by: Option<String>,
    },
    /// A version takes a share of the calls first.
    OnTrial {
        /// Whose and which.
        key: HandlerKey,
        /// The first digits of the version that goes on for the rest.
        current: String,
        /// And of the new one.
        version: String,
        /// How many calls of a hundred.
        percent: u32,
        /// Who has signed it.
        signed_by: Option<String>,
    },
    /// A version on trial takes all new calls now.
    Promoted {
        /// Whose and which.
        key: HandlerKey,
        /// The first digits of the version before.
        from: Option<String>,
        /// And of the new one.
        version: String,
        /// How its calls went.
        why: String,
    },
    /// A version on trial takes no more calls, and is not taken from its file again until that changes.
    Withdrawn {
        /// Whose and which.
        key: HandlerKey,
        /// Its first digits.
        version: String,
        /// A sentence.
        why: String,
    },
    /// A component did not get in; what was there goes on.
    Refused {
        /// Whose and which.
        key: HandlerKey,
        /// One sentence.
        why: String,
    },
    /// A version that took calls does not meet its tenant's signature policy any more: new calls do not get it. Those that
    /// are up stay on it.
    Barred {
        /// Whose and which.
        key: HandlerKey,
        /// Its first digits.
        version: String,
        /// One sentence, which names tenant, handler and version, and says what to do.
        why: String,
    },
    /// What the start did not wait for: it comes behind it, as a changed file does. A sentence, which names a few.
    Late(String),
    /// A component is gone from the directory; new calls do not get it any more.
    Gone {
        /// Whose and which.
        key: HandlerKey,
    },
    /// Something in the directory cannot be read.
    Problem(Problem),
    /// The directory, or the folder of versions, as a whole.
    Trouble(String),
}

/// Who gives calls what is loaded.
pub trait Serving: Send {
    /// From now on new calls get these, and those on trial their share. A trial that is in it again goes on; whoever counts
    /// how its calls go tells [`Loader::trial_over`](crate::Loader::trial_over).
    fn serve(&mut self, snapshot: Snapshot);

    /// Told once each.
    fn news(&mut self, news: News);
}
