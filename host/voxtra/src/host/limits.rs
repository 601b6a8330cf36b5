//! What each tenant may have, as its file says within what the operator's does, handed to those who see to it: the host of
//! calls and the Wasm runtime.

use std::time::Duration;

use voxtra_core::TenantId;
use voxtra_directory::{Directory, Limits, TenantPlan};
use voxtra_plugins::{Runtime, TenantShare};
use voxtra_session::{Host, TenantLimits};

use super::handlers::{ceiling, own_dial, says_whom_to_dial};
use crate::config::Config;

/// Hands out all tenants' limits; they count at once, but calls that are up keep the lengths that they began with. `written`
/// is the operator's file without the tenants' own.
pub(crate) fn apply(written: &Config, directory: &Directory, host: &Host, wasm: &Runtime) {
    // A tenant without a folder has what one has whose file says nothing.
    let others = ceiling(written).defaults;
    let tenants = || directory.tenants.iter();
    host.set_tenant_limits(
        of_calls(&others, None),
        tenants().map(|(name, plan)| (name.clone(), of_calls(&plan.settings.limits, per_day(written, name, plan)))),
    );
    wasm.set_tenant_limits(
        of_instances(&others, TenantShare::default().weight),
        tenants().map(|(name, plan)| (name.clone(), of_instances(&plan.settings.limits, plan.settings.weight))),
    );
}

fn of_calls(limits: &Limits, originated_per_day: Option<u32>) -> TenantLimits {
    let time = |ms| Some(Duration::from_millis(ms));
    TenantLimits {
        calls_at_once: Some(count(limits.max_calls)),
        call_limit: time(limits.call_ms),
        originated_per_day,
        handler_grace: time(limits.handler_grace_ms),
        hook_limit: time(limits.hook_ms),
        log_bytes: Some(count(limits.log_bytes)),
    }
}

fn of_instances(limits: &Limits, weight: u32) -> TenantShare {
    TenantShare {
        cpu_ms_per_second: Some(count(limits.cpu_ms_per_second)),
        memory_bytes: Some(bytes(limits.total_memory_mib)),
        weight,
    }
}

/// Where the tenant's own file says whom it may call, and the operator's does not.
fn per_day(written: &Config, name: &TenantId, plan: &TenantPlan) -> Option<u32> {
    if says_whom_to_dial(written, name) {
        return None;
    }
    own_dial(plan).map(|dial| count(dial.limits.max_per_day))
}

fn count(figure: u64) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX)
}

fn bytes(mib: u64) -> u64 {
    mib.saturating_mul(1 << 20)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Each figure its own number, so that none can stand for another.
    fn figures() -> Limits {
        Limits {
            call_ms: 11,
            handler_grace_ms: 12,
            hook_ms: 13,
            log_bytes: 14,
            max_calls: 15,
            cpu_ms_per_second: 16,
            total_memory_mib: 17,
            ..Limits::default()
        }
    }

    #[test]
    fn every_figure_of_a_tenant_gets_to_who_sees_to_it() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(
            of_calls(&figures(), Some(20)),
            TenantLimits {
                calls_at_once: Some(15),
                call_limit: ms(11),
                originated_per_day: Some(20),
                handler_grace: ms(12),
                hook_limit: ms(13),
                log_bytes: Some(14),
            }
        );
        assert_eq!(
            of_instances(&figures(), 300),
            TenantShare { cpu_ms_per_second: Some(16), memory_bytes: Some(17 << 20), weight: 300 }
        );
    }

    #[test]
    fn what_is_larger_than_a_count_is_as_large_as_one_gets() {
        let limits = Limits { max_calls: 1 << 40, total_memory_mib: u64::MAX, ..Limits::default() };
        assert_eq!(of_calls(&limits, None).calls_at_once, Some(u32::MAX));
        assert_eq!(of_instances(&limits, 1).memory_bytes, Some(u64::MAX));
    }
}
