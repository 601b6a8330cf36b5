//! Claims about settling, in made-up time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

const SETTLE: Duration = Duration::from_millis(200);

/// A plugin directory that is only imagined: files by number, each holding one byte.
struct World {
    settler: Settler<u8, (u64, u8)>,
    now: Instant,
    writes: u64,
    on_disk: BTreeMap<u8, (u64, u8)>,
    told: BTreeMap<u8, Option<(u64, u8)>>,
    changed_at: BTreeMap<u8, Instant>,
}

impl World {
    fn new() -> Self {
        Self {
            settler: Settler::new(SettleOptions::default()),
            now: Instant::now(),
            writes: 0,
            on_disk: BTreeMap::new(),
            told: BTreeMap::new(),
            changed_at: BTreeMap::new(),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn write(&mut self, file: u8, holds: u8) {
        self.writes += 1;
        self.on_disk.insert(file, (self.writes, holds));
        self.tell(file);
    }

    fn remove(&mut self, file: u8) {
        self.on_disk.remove(&file);
        self.tell(file);
    }

    fn tell(&mut self, file: u8) {
        let seen = self.on_disk.get(&file).copied();
        if self.told.insert(file, seen) != Some(seen) {
            self.changed_at.insert(file, self.now);
        }
        self.settler.see(self.now, file, &tenant(file), seen);
    }

    /// What is due, as the file's number; and that it has settled.
    fn due(&mut self) -> Option<u8> {
        let due = self.settler.due(self.now)?;
        let (Due::Read { file, .. } | Due::Gone { file, .. }) = due;
        assert!(self.now - self.changed_at[&file] >= SETTLE, "not settled");
        match due {
            Due::Read { tenant: whose, stamp, .. } => {
                assert_eq!((whose, stamp), (tenant(file), self.on_disk[&file]));
            }
            Due::Gone { .. } => assert!(!self.on_disk.contains_key(&file)),
        }
        Some(file)
    }

    fn judge(&mut self, file: u8) -> Verdict {
        self.settler.judge(self.now, &file, holding(self.on_disk[&file].1))
    }

    fn done(&mut self, file: u8, outcome: Outcome) {
        self.settler.done(self.now, &file, outcome);
    }
}

/// Three tenants.
fn tenant(file: u8) -> TenantId {
    TenantId::new(format!("tenant-{}", file % 3))
}

fn holding(byte: u8) -> Content {
    Content::of(&[Some(&[byte]), None])
}

#[test]
fn a_file_is_read_once_it_has_looked_the_same_for_the_settle_time() {
    let mut world = World::new();
    world.write(0, 1);
    world.pass(199);
    assert_eq!(world.due(), None);
    assert_eq!(world.settler.wake_at(), Some(world.now + Duration::from_millis(1)));
    world.pass(1);
    assert_eq!(world.due(), Some(0));
    assert_eq!(world.judge(0), Verdict::Load);
    world.done(0, Outcome::Loaded);
    world.tell(0);
    world.pass(10_000);
    assert_eq!((world.due(), world.settler.wake_at()), (None, None));
}

#[test]
fn twenty_swaps_in_a_second_are_one_load_of_the_last() {
    let mut world = World::new();
    let mut loads = Vec::new();
    for swap in 0..20 {
        world.write(0, swap);
        for _ in 0..5 {
            world.pass(10);
            loads.extend(world.due());
        }
    }
    assert!(loads.is_empty());
    for _ in 0..100 {
        world.pass(10);
        if world.due().is_some() {
            assert_eq!(world.judge(0), Verdict::Load);
            loads.push(world.on_disk[&0].1);
            world.done(0, Outcome::Loaded);
        }
    }
    assert_eq!(loads, [19]);
}

#[test]
fn a_touched_file_is_not_loaded_again() {
    let mut world = World::new();
    let (file, stamp) = (0, (0, 7));
    world.settler.adopt(world.now, file, &tenant(file), stamp, holding(7));
    world.settler.see(world.now, file, &tenant(file), Some(stamp));
    world.pass(1_000);
    assert_eq!(world.due(), None);
    world.write(file, 7);
    world.pass(200);
    assert_eq!(world.due(), Some(file));
    assert_eq!(world.judge(file), Verdict::Unchanged);
    assert_eq!(world.settler.wake_at(), None);
}

#[test]
fn content_that_failed_is_not_tried_again_until_the_file_has_had_other() {
    let mut world = World::new();
    world.write(0, 1);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.done(0, Outcome::Failed);
    for _ in 0..3 {
        world.write(0, 1);
        world.pass(100_000);
        assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::FailedBefore));
    }
    world.write(0, 2);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.done(0, Outcome::Loaded);
    world.write(0, 1);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
}

#[test]
fn content_that_failed_and_comes_back_waits_longer_each_time() {
    let mut world = World::new();
    let mut waits = Vec::new();
    for _ in 0..9 {
        world.write(0, 1);
        world.pass(200);
        assert_eq!(world.due(), Some(0));
        let verdict = match world.judge(0) {
            Verdict::Later(at) => {
                assert_eq!(world.settler.wake_at(), Some(at));
                world.now = at;
                assert_eq!(world.due(), Some(0));
                world.judge(0)
            }
            other => other,
        };
        assert_eq!(verdict, Verdict::Load);
        let failed_at = world.now;
        world.done(0, Outcome::Failed);
        world.write(0, 2);
        world.pass(200);
        if world.due().is_some() && world.judge(0) == Verdict::Load {
            world.done(0, Outcome::Loaded);
        }
        world.write(0, 1);
        world.pass(200);
        assert_eq!(world.due(), Some(0));
        let Verdict::Later(at) = world.judge(0) else { panic!("it did not wait") };
        waits.push((at - failed_at).as_secs());
        world.pass(1);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn what_was_not_the_files_fault_is_tried_again_by_itself() {
    let mut world = World::new();
    world.write(0, 1);
    world.pass(200);
    for wait in [1, 2, 4] {
        assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
        world.done(0, Outcome::Hindered);
        assert_eq!(world.settler.wake_at(), Some(world.now + Duration::from_secs(wait)));
        world.pass(wait * 1_000 - 1);
        assert_eq!(world.due(), None);
        world.pass(1);
    }
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.done(0, Outcome::Loaded);
    assert_eq!(world.settler.wake_at(), None);
}

#[test]
fn a_tenant_has_one_file_in_work_and_others_are_not_kept_waiting() {
    let mut world = World::new();
    // Tenant 0 has three files, tenant 1 comes later with one.
    [0, 3, 6].into_iter().for_each(|file| world.write(file, file));
    world.pass(50);
    world.write(1, 1);
    world.pass(200);
    let (first, second) = (world.due().unwrap(), world.due().unwrap());
    assert_eq!((first % 3, second), (0, 1));
    assert_eq!(world.due(), None);
    assert_eq!(world.judge(first), Verdict::Load);
    world.done(first, Outcome::Loaded);
    // Tenant 1 again, before the rest of tenant 0: it is its turn.
    world.done(second, Outcome::Changing);
    world.pass(200);
    let order = [world.due().unwrap(), world.due().unwrap()];
    assert!(order.contains(&1) && order.iter().any(|file| file % 3 == 0), "{order:?}");
}

#[test]
fn a_file_that_waits_for_something_far_away_keeps_nobody_waiting() {
    let mut world = World::new();
    world.write(0, 1);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.settler.set_down(&0);
    world.write(3, 1);
    world.write(6, 1);
    world.pass(200);
    assert_eq!((world.due(), world.due()), (Some(3), None), "the tenant has one in work again, and no more");
    assert_eq!(world.judge(3), Verdict::Load);
    // It is there: its tenant is at work.
    world.settler.take_up(world.now, &0);
    assert_eq!(world.due(), None);
    world.done(3, Outcome::Loaded);
    let rest = [world.due(), world.due()];
    assert!(rest == [Some(0), None] || rest == [Some(6), None], "{rest:?}");
    // One that is set down and changes is read when what it waits for has come, not before.
    let mut world = World::new();
    world.write(0, 1);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.settler.set_down(&0);
    world.write(0, 2);
    world.pass(1_000);
    assert!(world.due().is_none() && world.settler.is_open(&0));
    world.done(0, Outcome::Failed);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
}

#[test]
fn a_file_that_changes_while_it_is_in_work_is_read_again() {
    let mut world = World::new();
    world.write(0, 1);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.write(0, 2);
    world.pass(1_000);
    assert_eq!(world.due(), None);
    world.done(0, Outcome::Loaded);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.done(0, Outcome::Loaded);
    world.pass(1_000);
    assert_eq!(world.due(), None);
}

#[test]
fn a_file_that_is_replaced_by_way_of_its_absence_is_not_gone() {
    let mut world = World::new();
    world.settler.adopt(world.now, 0, &tenant(0), (0, 1), holding(1));
    world.remove(0);
    world.pass(150);
    assert_eq!(world.due(), None);
    world.write(0, 2);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.done(0, Outcome::Loaded);
    world.remove(0);
    world.pass(200);
    let Some(Due::Gone { file: 0, .. }) = world.settler.due(world.now) else { panic!("it is still there") };
    assert_eq!(world.settler.files.len(), 0);
}

#[test]
fn taking_a_file_away_is_no_way_around_its_back_off() {
    let mut world = World::new();
    world.write(0, 1);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.done(0, Outcome::Failed);
    world.remove(0);
    world.pass(200);
    assert_eq!(world.due(), Some(0));
    world.write(0, 1);
    world.pass(200);
    assert_eq!(world.due(), Some(0));
    assert!(matches!(world.judge(0), Verdict::Later(_)));
    world.remove(0);
    world.pass(200);
    assert_eq!(world.due(), Some(0));
    world.pass(600_000);
    assert_eq!((world.due(), world.settler.files.len()), (None, 0));
}

#[test]
fn an_operator_can_have_a_failed_file_tried_again() {
    let mut world = World::new();
    world.write(0, 1);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
    world.done(0, Outcome::Failed);
    world.settler.again(world.now, &0);
    world.changed_at.insert(0, world.now);
    world.pass(200);
    assert_eq!((world.due(), world.judge(0)), (Some(0), Verdict::Load));
}

#[test]
fn a_signature_that_arrives_later_is_new_content() {
    let (component, signature) = (Some(&b"component"[..]), Some(&b"signature"[..]));
    let contents = [
        Content::of(&[component, None]),
        Content::of(&[component, signature]),
        Content::of(&[component, signature, None]),
        Content::of(&[None, component]),
        Content::of(&[Some(b"componentsignature"), None]),
        Content::of(&[component, Some(b"")]),
    ];
    assert_eq!(contents.iter().collect::<BTreeSet<_>>().len(), contents.len());
}

#[derive(Debug, Clone)]
enum Step {
    Write(u8, u8),
    Remove(u8),
    Pass(u64),
    Work,
    Finish(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..6, 0_u8..8).prop_map(|(file, holds)| Step::Write(file, holds)),
        1 => (0_u8..6).prop_map(Step::Remove),
        4 => (0_u64..400).prop_map(Step::Pass),
        1 => (0_u64..90_000).prop_map(Step::Pass),
        4 => Just(Step::Work),
        4 => any::<u8>().prop_map(Step::Finish),
    ]
}

/// Contents 0 to 2 are bad, 3 is hindered now and then, the others are good.
fn outcome(holds: u8, dice: u8) -> Outcome {
    match holds {
        0..=2 => Outcome::Failed,
        3 if dice.is_multiple_of(3) => Outcome::Hindered,
        _ if dice.is_multiple_of(7) => Outcome::Changing,
        _ => Outcome::Loaded,
    }
}

/// What the rules promise, kept apart from the code that keeps them.
#[derive(Default)]
struct Ledger {
    in_work: BTreeMap<u8, (u64, u8)>,
    /// Of each file: the content that failed last, while it has had no other since.
    failed: BTreeMap<u8, u8>,
    loaded: BTreeMap<u8, u8>,
}

impl Ledger {
    fn work(&mut self, world: &mut World) {
        let Some(file) = world.due() else { return };
        let Some(stamp) = world.on_disk.get(&file).copied() else {
            self.loaded.remove(&file);
            self.failed.remove(&file);
            return;
        };
        let holds = stamp.1;
        assert!(self.in_work.keys().all(|other| tenant(*other) != tenant(file)), "two at a time");
        match world.judge(file) {
            Verdict::Load => {
                assert_ne!(self.failed.get(&file), Some(&holds), "the same failing content twice");
                assert_ne!(self.loaded.get(&file), Some(&holds), "the same good content twice");
                self.in_work.insert(file, stamp);
            }
            Verdict::Unchanged => {
                assert_eq!(self.loaded.get(&file), Some(&holds));
                self.failed.remove(&file);
            }
            Verdict::FailedBefore => assert_eq!(self.failed.get(&file), Some(&holds)),
            Verdict::Later(at) => assert!(at > world.now),
        }
    }

    fn finish(&mut self, world: &mut World, dice: u8) {
        let Some((file, stamp)) = self.in_work.pop_first() else { return };
        let holds = stamp.1;
        let outcome = outcome(holds, dice);
        match outcome {
            Outcome::Loaded => {
                self.loaded.insert(file, holds);
                self.failed.remove(&file);
            }
            Outcome::Failed => drop(self.failed.insert(file, holds)),
            Outcome::Hindered | Outcome::Changing => drop(self.failed.remove(&file)),
        }
        if outcome == Outcome::Changing && world.on_disk.get(&file) == Some(&stamp) {
            world.changed_at.insert(file, world.now);
        }
        world.done(file, outcome);
    }
}

proptest! {
    #[test]
    fn the_rules_hold_whatever_happens_and_in_the_end_the_last_content_counts(
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new();
        let mut ledger = Ledger::default();
        for step in steps {
            match step {
                Step::Write(file, holds) => world.write(file, holds),
                Step::Remove(file) => world.remove(file),
                Step::Pass(ms) => world.pass(ms),
                Step::Work => ledger.work(&mut world),
                Step::Finish(dice) => ledger.finish(&mut world, dice),
            }
        }
        // Now it is quiet: everything comes to an end, and soon.
        for _ in 0..200 {
            while !ledger.in_work.is_empty() {
                ledger.finish(&mut world, 1);
            }
            let Some(wake) = world.settler.wake_at() else { break };
            world.now = world.now.max(wake);
            ledger.work(&mut world);
        }
        prop_assert_eq!(world.settler.wake_at(), None);
        prop_assert!(world.settler.busy.is_empty());
        for (file, (_, holds)) in &world.on_disk {
            let expected = if *holds <= 2 { &ledger.failed } else { &ledger.loaded };
            prop_assert_eq!(expected.get(file), Some(holds));
        }
    }
}
