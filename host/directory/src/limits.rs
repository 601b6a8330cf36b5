//! What a call and a tenant may use up: one list of figures, from which reading, comparing and narrowing follow.

use crate::problem::Fault;
use crate::reader::Reader;

/// One figure of a group `S`.
pub(crate) struct Figure<S> {
    /// As files write it.
    pub(crate) key: &'static str,
    /// The least that makes sense; the most is the host's to say.
    pub(crate) least: u64,
    pub(crate) get: fn(&S) -> u64,
    pub(crate) set: fn(&mut S, u64),
    /// It counts over all of a tenant's calls, so a handler cannot have its own.
    pub(crate) of_tenant: bool,
}

/// More than any figure here may be, so that sums and products of two stay far from overflowing.
const MOST: u64 = 1 << 40;

/// A group of figures: a struct of `u64`s, its defaults, and its list.
macro_rules! figures {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $key:ident: $default:literal from $least:literal $($tenant:ident)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $key: u64,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $crate::limits::Figures for $name {
            const LIST: &'static [$crate::limits::Figure<Self>] = &[
                $($crate::limits::Figure {
                    key: stringify!($key),
                    least: $least,
                    get: |group| group.$key,
                    set: |group, value| group.$key = value,
                    of_tenant: figures!(@of_tenant $($tenant)?),
                },)*
            ];
        }

        impl $name {
            /// The smaller of both, figure by figure.
            #[must_use]
            pub fn min(self, other: Self) -> Self {
                Self { $($key: self.$key.min(other.$key),)* }
            }

            /// The keys and values, in the order in which they are documented.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                <Self as $crate::limits::Figures>::LIST.iter().map(|figure| (figure.key, (figure.get)(self)))
            }
        }
    };
    (@of_tenant tenant) => { true };
    (@of_tenant) => { false };
}
pub(crate) use figures;

pub(crate) trait Figures: Copy + Sized + 'static {
    const LIST: &'static [Figure<Self>];
}

figures! {
    /// Limits. Those of a call are the smaller of host's, tenant's and handler's; those marked "tenant" count over all of its
    /// calls. The keys that `voxtra.yaml` has too are named as there and mean the same.
    Limits {
        /// Memory of one instance, all its memories together, in MiB. Default 64.
        memory_mib: 64 from 1,
        /// Running time of one call's guest code, in milliseconds, waiting not counted. Default 10,000.
        cpu_ms: 10_000 from 1,
        /// Elements of all tables of one instance. Default 40,000.
        table_elements: 40_000 from 1,
        /// Bytes handed over in one host call. Default 1,048,576.
        host_call_bytes: 1_048_576 from 1,
        /// Handles that one instance holds at once. Default 1,000.
        handles: 1_000 from 1,
        /// The longest call, in milliseconds. Default 14,400,000 (4 hours).
        call_ms: 14_400_000 from 1,
        /// How long a handler may go on after its call has ended, in milliseconds. Default 5,000.
        handler_grace_ms: 5_000 from 0,
        /// How long a hang-up hook may take, in milliseconds. Default 5,000.
        hook_ms: 5_000 from 0,
        /// Bytes of log of one call. Default 65,536.
        log_bytes: 65_536 from 0,
        /// Verbs (what becomes a message to the call's owner: play, transfer, hold and the like) a second of one call. Default 200.
        verbs_per_second: 200 from 1,
        /// Reads and writes of audio a second of one call. Default 400: eight times what 20 ms frames need.
        audio_calls_per_second: 400 from 1,
        /// Reads and writes of the store a second of one call. Default 100.
        store_calls_per_second: 100 from 1,
        /// Log lines a second of one call. Default 100.
        log_lines_per_second: 100 from 1,
        /// Requests to providers and other hosts a second of one call. Default 10.
        provider_calls_per_second: 10 from 1,
        /// Events of its own a second of one call. Default 50.
        events_per_second: 50 from 1,
        /// Bytes that the host keeps for one call at one time: notes, handles, queues, what was just handed on. Default
        /// 4,194,304.
        retained_bytes: 4_194_304 from 65_536,
        /// Calls at once, tenant. Default 2,000.
        max_calls: 2_000 from 1 tenant,
        /// Running time of guest code in one second over all calls, in milliseconds, tenant. Default 1,000: one core.
        cpu_ms_per_second: 1_000 from 1 tenant,
        /// Memory over all live instances, in MiB, tenant. Default 16,384.
        total_memory_mib: 16_384 from 1 tenant,
        /// Keys in the store, tenant. Default 10,000.
        max_keys: 10_000 from 0 tenant,
        /// Bytes in the store, in MiB, tenant. Default 16.
        stored_mib: 16 from 0 tenant,
        /// Handlers, routers and filters of a tenant together. Default 1,000.
        max_components: 1_000 from 1 tenant,
    }
}

/// A tenant's figures: what the table says, else the host's; a figure above the host's own is refused with both.
pub(crate) fn read_tenant<S: Figures>(table: &Reader<'_, '_>, defaults: S, ceiling: S) -> Result<S, Fault> {
    let mut group = defaults;
    for figure in S::LIST {
        let most = (figure.get)(&ceiling);
        let value = match table.whole(figure.key, &(figure.least..=MOST))? {
            Some(value) if value > most => return Err(above(table, figure.key, value, most, "the host")),
            Some(value) => value,
            None => (figure.get)(&defaults).min(most),
        };
        (figure.set)(&mut group, value);
    }
    Ok(group)
}

/// A handler's figures: the tenant's where the table says nothing; a wider one is refused with both.
pub(crate) fn read_handler<S: Figures>(table: &Reader<'_, '_>, tenant: S) -> Result<S, Fault> {
    let mut group = tenant;
    for figure in S::LIST {
        let Some(value) = table.whole(figure.key, &(figure.least..=MOST))? else { continue };
        if figure.of_tenant {
            return Err(table.refuse(figure.key, "counts over all calls of the tenant; write it into tenant.toml"));
        }
        let most = (figure.get)(&tenant);
        if value > most {
            return Err(above(table, figure.key, value, most, "the tenant"));
        }
        (figure.set)(&mut group, value);
    }
    Ok(group)
}

/// The keys of a group, for [`Reader::only`].
pub(crate) fn keys<S: Figures>() -> impl Iterator<Item = &'static str> {
    S::LIST.iter().map(|figure| figure.key)
}

fn above(table: &Reader<'_, '_>, key: &str, value: u64, most: u64, who: &str) -> Fault {
    table.refuse(key, &format!("is {value} and {who} allows {most}; write {most} or less"))
}
