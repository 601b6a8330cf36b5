//! The store on a real disk: what it keeps, what it removes, and what is left when it is killed or its files are hurt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use voxtra_artifacts::store::{
    Author, Canary, CanaryEnd, ChangeError, Source, Standing, StoreError, VersionStore, Why,
};
use voxtra_artifacts::{HandlerKey, Version};
use voxtra_test_support::files::TempDir;

struct Bench {
    store: VersionStore,
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new("versions").unwrap();
        Self { store: VersionStore::open(&dir.path().join("state")).unwrap(), dir }
    }

    fn again(&self) -> VersionStore {
        VersionStore::open(&self.dir.path().join("state")).unwrap()
    }

    fn file(&self, path: &str) -> PathBuf {
        self.dir.path().join("state").join(path)
    }

    fn take(&self, handler: &HandlerKey, component: &str) -> Version {
        let version = self.store.put(component.as_bytes()).unwrap();
        let standing = self.store.record_good(handler, version, Source::File, &author()).unwrap();
        assert_eq!(standing, Standing::New);
        version
    }
}

#[test]
fn a_pipe_in_the_stores_folders_is_named_and_not_waited_for() {
    let pipe = |path: &Path| {
        let _ = fs::remove_file(path);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let bench = Bench::new();
    let support = key("acme", "support");
    let version = bench.take(&support, "one");
    for entry in fs::read_dir(bench.file("handlers/acme")).unwrap() {
        pipe(&entry.unwrap().path());
    }
    let error = bench.store.get(&support).unwrap_err().to_string();
    assert!(error.contains("regular file"), "{error}");
    pipe(&bench.file(&format!("components/{}", file_name(&bench, "components"))));
    assert!(bench.store.component(version).is_err());
    pipe(&bench.file("lock"));
    let error = VersionStore::open(&bench.file("")).err().unwrap().to_string();
    assert!(error.contains("regular file") && error.contains("lock"), "{error}");
}

fn file_name(bench: &Bench, folder: &str) -> String {
    let mut names = fs::read_dir(bench.file(folder)).unwrap();
    names.next().unwrap().unwrap().file_name().into_string().unwrap()
}

fn key(tenant: &str, handler: &str) -> HandlerKey {
    HandlerKey::new(&tenant.into(), &handler.into()).unwrap()
}

fn author() -> Author {
    Author::new("ana", SystemTime::now())
}

fn signature(component: &str, comment: &str) -> String {
    let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let bytes = std::io::Cursor::new(component);
    minisign::sign(Some(&keys.pk), &keys.sk, bytes, Some(comment), None).unwrap().into_string()
}

fn canary(version: Version) -> Canary {
    Canary { version, share_percent: 10.try_into().unwrap() }
}

#[test]
fn what_is_recorded_is_found_by_another_process() {
    let bench = Bench::new();
    let support = key("acme", "support");
    let first = bench.take(&support, "one");
    let second = bench.take(&support, "two");
    let known = bench.again().get(&support).unwrap().unwrap();
    assert_eq!((known.record.current(), known.record.previous()), (second, Some(first)));
    assert!(known.complaints.is_empty());
    let history = known.record.history();
    assert_eq!(
        history.iter().map(|entry| (entry.why, entry.version)).collect::<Vec<_>>(),
        [(Why::FileChanged, first), (Why::FileChanged, second)]
    );
    assert!(history.iter().all(|entry| entry.by == "ana" && entry.at_ms > 1_600_000_000_000));
    assert_eq!(bench.again().component(first).unwrap(), b"one");
    assert_eq!(bench.again().handlers().unwrap(), [support]);
}

#[test]
fn the_folder_is_closed_to_other_users() {
    let bench = Bench::new();
    bench.take(&key("acme", "support"), "one");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.file(""), open).unwrap();
    bench.again();
    let (mut folders, mut files) = (vec![bench.file("")], Vec::new());
    let mut at = 0;
    while at < folders.len() {
        for entry in fs::read_dir(&folders[at]).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
        at += 1;
    }
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert!(folders.len() == 4 && folders.iter().all(|path| mode(path) == 0o700), "{folders:?}");
    assert!(files.len() == 3 && files.iter().all(|path| mode(path) == 0o600), "{files:?}");
}

#[test]
fn a_component_that_was_changed_on_disk_is_refused_and_replaced_by_the_true_one() {
    let bench = Bench::new();
    let version = bench.take(&key("acme", "support"), "one");
    fs::write(bench.file(&format!("components/{version}.wasm")), "two").unwrap();
    assert!(matches!(bench.store.component(version), Err(StoreError::Damaged { .. })));
    let again = bench.store.record_good(&key("acme", "other"), version, Source::File, &author());
    assert!(matches!(again, Err(StoreError::Damaged { .. })));
    bench.store.put(b"one").unwrap();
    assert_eq!(bench.store.component(version).unwrap(), b"one");
}

#[test]
fn a_version_whose_bytes_are_not_here_cannot_become_current() {
    let bench = Bench::new();
    let support = key("acme", "support");
    let first = bench.take(&support, "one");
    let unknown = Version::of(b"never put");
    let by = author();
    let refused = [
        bench.store.record_good(&support, unknown, Source::File, &by).map(drop),
        bench.store.rollback(&support, Some(unknown), &by).map(drop),
        bench.store.pin(&support, Some(unknown), &by).map(drop),
        bench.store.set_canary(&support, canary(unknown), &by),
    ];
    assert!(refused.iter().all(|result| matches!(result, Err(StoreError::UnknownVersion(v)) if *v == unknown)));
    let record = bench.store.get(&support).unwrap().unwrap().record;
    assert_eq!((record.current(), record.pin(), record.history().len()), (first, None, 1));
}

#[test]
fn rollback_pin_and_canary_outlive_a_restart() {
    let bench = Bench::new();
    let support = key("acme", "support");
    let (first, second) = (bench.take(&support, "one"), bench.take(&support, "two"));
    assert_eq!(bench.store.rollback(&support, None, &author()).unwrap(), first);
    let after = bench.again();
    assert!(matches!(after.standing(&support, second).unwrap(), Standing::HeldBack(_)));
    assert!(matches!(after.record_good(&support, second, Source::File, &author()).unwrap(), Standing::HeldBack(_)));
    after.pin(&support, None, &author().saying("month's end")).unwrap();
    let third = after.put(b"three").unwrap();
    let standing = bench.again().record_good(&support, third, Source::File, &author()).unwrap();
    assert!(matches!(standing, Standing::Pinned(said) if said.contains("pinned to")));
    let refused = bench.store.rollback(&support, Some(second), &author());
    assert!(matches!(refused, Err(StoreError::Change { why: ChangeError::Pinned { .. }, .. })));
    assert_eq!(bench.again().unpin(&support, &author()).unwrap(), Some(third));
    bench.store.set_canary(&support, canary(third), &author()).unwrap();
    assert_eq!(bench.again().get(&support).unwrap().unwrap().record.canary(), Some(canary(third)));
    let end = bench.again().clear_canary(&support, CanaryEnd::Failed, &author().saying("11 of 50 trapped")).unwrap();
    assert_eq!(end, first);
    assert_eq!(bench.again().current(&support).unwrap(), Some(first));
}

#[test]
fn a_version_is_found_by_its_first_digits() {
    let bench = Bench::new();
    let support = key("acme", "support");
    let first = bench.take(&support, "one");
    bench.take(&support, "two");
    let prefix = first.short().parse().unwrap();
    assert_eq!(bench.store.resolve(&support, &prefix).unwrap(), first);
    let none = "ffffffffffff".parse().unwrap();
    assert!(matches!(bench.store.resolve(&support, &none), Err(StoreError::NoMatch { .. })));
    let nobody = bench.store.resolve(&key("acme", "nobody"), &prefix);
    assert!(matches!(nobody, Err(StoreError::UnknownHandler(_))));
}

#[test]
fn pruning_never_removes_what_is_current_pinned_canary_waiting_or_live() {
    let bench = Bench::new();
    let (support, sales) = (key("acme", "support"), key("beta", "sales"));
    let versions: Vec<_> = (0..6).map(|n| bench.take(&support, &format!("v{n}"))).collect();
    let tried = bench.store.put(b"tried").unwrap();
    bench.store.set_canary(&support, canary(tried), &author()).unwrap();
    let pinned = bench.take(&sales, "sales");
    bench.store.pin(&sales, None, &author()).unwrap();
    let waiting = bench.store.put(b"waiting").unwrap();
    bench.store.record_good(&sales, waiting, Source::File, &author()).unwrap();
    let young = bench.store.put(b"being compiled").unwrap();
    let old = bench.store.put(b"left over").unwrap();
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
    let file = fs::File::options().write(true).open(bench.file(&format!("components/{old}.wasm"))).unwrap();
    file.set_modified(two_hours_ago).unwrap();

    let live = BTreeSet::from([versions[1]]);
    assert_eq!(bench.store.prune(2, &live).unwrap(), 3);
    let here = |version: &Version| bench.store.component(*version).is_ok();
    assert!([5, 4, 3, 1].iter().all(|n| here(&versions[*n])));
    assert!(![2, 0].iter().any(|n| here(&versions[*n])));
    assert!([tried, pinned, waiting, young].iter().all(here) && !here(&old));

    // What is gone is not gone back to: 4, 3, then 1, which lives.
    let back: Vec<_> = (0..3).map(|_| bench.store.rollback(&support, None, &author()).unwrap()).collect();
    assert_eq!(back, [versions[4], versions[3], versions[1]]);
    let end = bench.store.rollback(&support, None, &author());
    let said = end.as_ref().unwrap_err().to_string();
    assert!(said.contains("`voxtra handlers rollback acme/support VERSION`"), "{said}");
    let Standing::HeldBack(said) = bench.store.standing(&support, versions[5]).unwrap() else { panic!("it is taken") };
    assert!(said.contains(&format!("`voxtra handlers rollback acme/support {}`", versions[5].short())), "{said}");
    assert!(matches!(end, Err(StoreError::Change { why: ChangeError::NothingEarlier, .. })));
}

#[test]
fn nothing_is_pruned_while_a_record_cannot_be_read() {
    let bench = Bench::new();
    let support = key("acme", "support");
    let versions: Vec<_> = (0..4).map(|n| bench.take(&support, &format!("v{n}"))).collect();
    for slot in ["a", "b"] {
        fs::write(bench.file(&format!("handlers/acme/support.{slot}.json")), "{}").unwrap();
    }
    assert!(matches!(bench.store.prune(0, &BTreeSet::new()), Err(StoreError::Unreadable { .. })));
    assert!(versions.iter().all(|version| bench.store.component(*version).is_ok()));
}

#[test]
fn damage_of_any_kind_is_reported_and_the_last_good_record_counts() {
    let bench = Bench::new();
    let (support, other) = (key("acme", "support"), key("acme", "other"));
    let first = bench.take(&support, "one");
    bench.take(&other, "other");
    bench.take(&support, "two");
    // The first change went to a, the second to b.
    let newest = bench.file("handlers/acme/support.b.json");
    let whole = fs::read(&newest).unwrap();
    let others = fs::read(bench.file("handlers/acme/other.a.json")).unwrap();
    let mut hurt: Vec<Vec<u8>> = (0..whole.len()).step_by(7).map(|len| whole[..len].to_vec()).collect();
    for at in (0..whole.len()).step_by(5) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x20;
        hurt.push(flipped);
    }
    hurt.extend([others, vec![0; 4096], vec![0xff; 100], vec![b'x'; 2 << 20]]);
    for bytes in hurt {
        fs::write(&newest, &bytes).unwrap();
        let known = bench.store.get(&support).unwrap().unwrap();
        assert_eq!(known.record.current(), first);
        assert!(known.complaints.len() == 1 && known.complaints[0].contains("support.b.json"));
    }
    // The next change repairs it.
    fs::write(&newest, b"torn").unwrap();
    let third = bench.take(&support, "three");
    let known = bench.again().get(&support).unwrap().unwrap();
    assert_eq!((known.record.current(), known.complaints.len()), (third, 0));
}

#[test]
fn a_handler_with_no_good_file_is_an_error_until_it_is_given_up() {
    let bench = Bench::new();
    let support = key("acme", "support");
    let version = bench.take(&support, "one");
    fs::write(bench.file("handlers/acme/support.a.json"), "torn").unwrap();
    let said = bench.store.get(&support).unwrap_err().to_string();
    assert!(said.contains("support.a.json") && said.contains("damaged"), "{said}");
    let refused = bench.store.record_good(&support, version, Source::File, &author());
    assert!(matches!(refused, Err(StoreError::Unreadable { .. })));
    assert!(bench.store.forget(&support).unwrap());
    assert!(!bench.store.forget(&support).unwrap());
    assert_eq!(bench.take(&support, "one"), version);
}

#[test]
fn a_record_without_a_good_file_is_set_aside_and_the_handler_begins_anew() {
    let bench = Bench::new();
    let support = key("acme", "support");
    let version = bench.take(&support, "one");
    assert!(bench.store.set_aside(&support).unwrap().is_empty(), "a good one stays");
    for torn in ["torn", "torn again"] {
        fs::write(bench.file("handlers/acme/support.a.json"), torn).unwrap();
        let _ = fs::remove_file(bench.file("handlers/acme/support.b.json"));
        let [aside] = <[PathBuf; 1]>::try_from(bench.store.set_aside(&support).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), torn, "nothing is lost of it");
        assert!(bench.store.get(&support).unwrap().is_none());
        assert_eq!(bench.take(&support, "one"), version);
    }
    assert_eq!(bench.store.handlers().unwrap(), [support]);
}

#[test]
fn a_kept_component_is_made_whole_from_the_same_bytes() {
    let bench = Bench::new();
    let version = bench.take(&key("acme", "support"), "one");
    let file = bench.file(&format!("components/{version}.wasm"));
    assert!(!bench.store.mend(version, b"one").unwrap());
    for damage in [Some("two"), Some("o"), None] {
        damage.map_or_else(|| fs::remove_file(&file), |bytes| fs::write(&file, bytes)).unwrap();
        assert!(bench.store.mend(version, b"one").unwrap());
        assert_eq!(bench.store.component(version).unwrap(), b"one");
    }
}

#[test]
fn folders_that_are_removed_under_way_are_made_again() {
    let bench = Bench::new();
    let support = key("acme", "support");
    bench.take(&support, "one");
    fs::remove_dir_all(bench.file("handlers").parent().unwrap()).unwrap();
    assert!(bench.store.get(&support).unwrap().is_none());
    let version = bench.take(&support, "two");
    assert_eq!(bench.store.current(&support).unwrap(), Some(version));
    fs::remove_dir_all(bench.file("components")).unwrap();
    bench.take(&support, "three");
    assert_eq!(fs::metadata(bench.file("components")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn many_threads_change_one_handler_and_no_change_is_lost() {
    let bench = Bench::new();
    let support = key("acme", "support");
    bench.take(&support, "one");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, support) = (bench.again(), &support);
            scope.spawn(move || {
                for n in 0..10 {
                    let version = store.put(format!("{thread}.{n}").as_bytes()).unwrap();
                    store.record_good(support, version, Source::File, &author()).unwrap();
                }
            });
        }
    });
    assert_eq!(bench.store.get(&support).unwrap().unwrap().record.history().len(), 41);
}

const KILLED_DIR: &str = "VOXTRA_ARTIFACTS_KILLED_DIR";
const KILLS: u64 = 40;

/// Not a test by itself: the process that is killed. It says what it has finished, line by line.
#[test]
#[ignore = "run by a_kill_at_any_moment_leaves_the_last_good_state"]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(KILLED_DIR) else { return };
    let store = VersionStore::open(Path::new(&dir)).unwrap();
    let support = key("acme", "support");
    let from = store.get(&support).unwrap().map_or(0, |known| number(&store, known.record.current()) + 1);
    let mut out = std::io::stdout();
    for n in from.. {
        let component = component_of(n);
        let version = store.put(&component).unwrap();
        store.record_good(&support, version, Source::File, &author()).unwrap();
        if n % 8 == 7 {
            store.prune(2, &BTreeSet::new()).unwrap();
        }
        writeln!(out, "done {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Big enough for a kill to fall into the middle of its writing.
fn component_of(n: u64) -> Vec<u8> {
    let mut component = vec![b'x'; 50_000];
    component[..8].copy_from_slice(&n.to_be_bytes());
    component
}

fn number(store: &VersionStore, version: Version) -> u64 {
    let component = store.component(version).unwrap();
    u64::from_be_bytes(component[..8].try_into().unwrap())
}

#[test]
fn a_kill_at_any_moment_leaves_the_last_good_state() {
    let dir = TempDir::new("killed").unwrap();
    let state = dir.path().join("state");
    let support = key("acme", "support");
    let mut finished = None;
    let mut unfinished_files = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--ignored", "--nocapture"])
            .env(KILLED_DIR, &state)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Some(n) = line.split("done ").nth(1).and_then(|n| n.parse::<u64>().ok()) else { continue };
                if sender.send(n).is_err() {
                    return;
                }
            }
        });
        // After its first change, and then at another moment each round.
        finished = Some(receiver.recv_timeout(Duration::from_secs(60)).unwrap());
        std::thread::sleep(Duration::from_micros(round * 997 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        finished = receiver.try_iter().last().or(finished);

        unfinished_files += left_over(&state);
        let store = VersionStore::open(&state).unwrap();
        assert_eq!(left_over(&state), 0);
        let known = store.get(&support).unwrap().unwrap();
        assert!(known.complaints.is_empty(), "{:?}", known.complaints);
        let current = number(&store, known.record.current());
        let finished = finished.unwrap();
        assert!((finished..=finished + 1).contains(&current), "{current} after {finished}");
        assert_eq!(
            number(&store, known.record.previous().unwrap_or(known.record.current())),
            current.saturating_sub(1)
        );
    }
    println!("{KILLS} kills, {} changes, {unfinished_files} files found half-written", finished.unwrap());
}

fn left_over(state: &Path) -> usize {
    let dirs = [state.join("components"), state.join("handlers/acme")];
    let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".new-")).count()
}

#[test]
fn the_signature_that_a_version_carried_is_kept_with_it() {
    let bench = Bench::new();
    let support = key("acme", "support");
    let version = bench.take(&support, "one");
    let of = |store: &VersionStore| store.get(&support).unwrap().unwrap().record.signature(version).map(str::to_owned);
    assert_eq!(of(&bench.store), None, "as of every record that an earlier host has written");
    let signed = signature("one", "today");
    bench.store.keep_signature(&support, version, signed.as_bytes()).unwrap();
    assert_eq!(of(&bench.again()).as_deref(), Some(signed.as_str()));
    // What is no signature, or would fill the record, is not kept, and takes nothing's place.
    let long = signature("one", &"x".repeat(9 << 10));
    let odd = signed.replacen("untrusted comment: ", "untrusted comment: \u{1}", 1);
    for bad in [b"nonsense".as_slice(), b"\xff", long.as_bytes(), odd.as_bytes()] {
        bench.store.keep_signature(&support, version, bad).unwrap();
        assert_eq!(of(&bench.again()).as_deref(), Some(signed.as_str()));
    }
}

#[test]
fn a_record_full_of_the_longest_signatures_is_still_read() {
    let bench = Bench::new();
    let support = key("acme", "support");
    for n in 0..80 {
        let component = format!("number {n}");
        let version = bench.take(&support, &component);
        // A quotation mark takes two bytes in the record.
        let signed = signature(&component, &"\"".repeat(7 << 10));
        bench.store.keep_signature(&support, version, signed.as_bytes()).unwrap();
    }
    let known = bench.again().get(&support).unwrap().unwrap();
    assert!(known.complaints.is_empty(), "{:?}", known.complaints);
    assert!(known.record.signature(known.record.current()).is_some());
}

#[test]
fn a_store_that_is_anothers_is_listed_and_left_as_it_is() {
    let bench = Bench::new();
    bench.take(&key("acme", "support"), "one");
    let state = bench.dir.path().join("state");
    let unfinished = bench.file("handlers/acme/.new-support");
    fs::write(&unfinished, "half").unwrap();
    assert_eq!(VersionStore::handlers_in(&state).unwrap(), [key("acme", "support")]);
    assert!(unfinished.exists());
    let nowhere = bench.dir.path().join("nowhere");
    assert!(VersionStore::handlers_in(&nowhere).unwrap().is_empty());
    assert!(!nowhere.exists());
}
