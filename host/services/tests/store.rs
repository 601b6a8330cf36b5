//! Claims about the tenants' store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use voxtra_core::store::{CasOutcome, FakeStore, KeyValueStore};
use voxtra_core::{CallError, TenantId};
use voxtra_services::database::Database;
use voxtra_services::store::{Quota, SqliteStore};

fn acme() -> TenantId {
    "acme".into()
}

async fn store(quota: Quota) -> SqliteStore {
    SqliteStore::new(Database::in_memory().unwrap(), quota).await.unwrap()
}

async fn values_come_back(store: &dyn KeyValueStore) {
    assert_eq!(store.get(&acme(), "k").await.unwrap(), None);
    let first = store.set(&acme(), "k", b"1".to_vec(), None).await.unwrap();
    let entry = store.get(&acme(), "k").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.version, entry.expires_at), (&b"1"[..], first, None));
    assert!(store.delete(&acme(), "k").await.unwrap() && !store.delete(&acme(), "k").await.unwrap());
    let second = store.set(&acme(), "k", b"1".to_vec(), None).await.unwrap();
    assert!(second > first, "a version came again after a deletion");
}

async fn one_of_two_wins(store: &dyn KeyValueStore) {
    let version = match store.compare_and_set(&acme(), "c", None, b"a".to_vec(), None).await.unwrap() {
        CasOutcome::Stored(version) => version,
        CasOutcome::Conflict(_) => panic!("there was nothing"),
    };
    let again = store.compare_and_set(&acme(), "c", None, b"b".to_vec(), None).await.unwrap();
    assert!(matches!(again, CasOutcome::Conflict(Some(entry)) if entry.version == version && &entry.value[..] == b"a"));
    let next = store.compare_and_set(&acme(), "c", Some(version), b"b".to_vec(), None).await.unwrap();
    assert!(matches!(next, CasOutcome::Stored(next) if next > version));
    let late = store.compare_and_set(&acme(), "c", Some(version), b"c".to_vec(), None).await.unwrap();
    assert!(matches!(late, CasOutcome::Conflict(Some(_))));
    store.delete(&acme(), "c").await.unwrap();
    let gone = store.compare_and_set(&acme(), "c", Some(version), b"c".to_vec(), None).await.unwrap();
    assert_eq!(gone, CasOutcome::Conflict(None));
}

async fn what_has_expired_is_not_there(store: &dyn KeyValueStore) {
    store.set(&acme(), "e", b"x".to_vec(), Some(Duration::from_millis(30))).await.unwrap();
    assert!(store.get(&acme(), "e").await.unwrap().unwrap().expires_at.is_some());
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(store.get(&acme(), "e").await.unwrap(), None);
    assert!(!store.keys(&acme(), "e", 10).await.unwrap().contains(&"e".to_owned()));
    let taken = store.compare_and_set(&acme(), "e", None, b"y".to_vec(), None).await.unwrap();
    assert!(matches!(taken, CasOutcome::Stored(_)));
}

async fn keys_are_listed_in_order(store: &dyn KeyValueStore) {
    for key in ["p/b", "p/a", "p/ä", "p", "q", "P/a", "p%", "p_"] {
        store.set(&acme(), key, Vec::new(), None).await.unwrap();
    }
    assert_eq!(store.keys(&acme(), "p/", 10).await.unwrap(), ["p/a", "p/b", "p/ä"]);
    assert_eq!(store.keys(&acme(), "p/", 2).await.unwrap(), ["p/a", "p/b"]);
    assert_eq!(store.keys(&acme(), "p%", 10).await.unwrap(), ["p%"]);
}

async fn tenants_do_not_see_each_other(store: &dyn KeyValueStore) {
    let beta = TenantId::from("beta");
    store.set(&acme(), "secret", b"1".to_vec(), None).await.unwrap();
    assert_eq!(store.get(&beta, "secret").await.unwrap(), None);
    assert!(store.keys(&beta, "", 100).await.unwrap().is_empty());
    assert!(!store.delete(&beta, "secret").await.unwrap());
    assert!(store.get(&acme(), "secret").await.unwrap().is_some());
}

async fn everything_holds(store: &dyn KeyValueStore) {
    values_come_back(store).await;
    one_of_two_wins(store).await;
    what_has_expired_is_not_there(store).await;
    keys_are_listed_in_order(store).await;
    tenants_do_not_see_each_other(store).await;
}

#[tokio::test]
async fn the_store_does_what_the_port_says() {
    everything_holds(&store(Quota::default()).await).await;
}

#[tokio::test]
async fn so_does_its_fake() {
    everything_holds(&FakeStore::new()).await;
}

#[tokio::test]
async fn a_hundred_at_once_count_to_a_hundred() {
    let store = store(Quota::default()).await;
    let counting = (0..100).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                let current = store.get(&acme(), "n").await.unwrap();
                let n: u32 = current.as_ref().map_or(0, |e| String::from_utf8_lossy(&e.value).parse().unwrap());
                let next = (n + 1).to_string().into_bytes();
                let swap = store.compare_and_set(&acme(), "n", current.map(|e| e.version), next, None).await.unwrap();
                if matches!(swap, CasOutcome::Stored(_)) {
                    return;
                }
            }
        })
    });
    for task in counting.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(&store.get(&acme(), "n").await.unwrap().unwrap().value[..], b"100");
}

#[tokio::test]
async fn a_tenant_that_is_full_is_told_and_others_are_not() {
    let store = store(Quota { max_keys: 2, max_bytes: 10 }).await;
    store.set(&acme(), "a", b"1".to_vec(), None).await.unwrap();
    store.set(&acme(), "b", b"1".to_vec(), Some(Duration::from_millis(20))).await.unwrap();
    let refused = store.set(&acme(), "c", b"1".to_vec(), None).await;
    assert!(matches!(&refused, Err(CallError::LimitExceeded(why)) if why.contains("2 keys")), "{refused:?}");
    store.set(&acme(), "a", b"12".to_vec(), None).await.unwrap();
    let refused = store.set(&acme(), "a", vec![0; 20], None).await;
    assert!(matches!(&refused, Err(CallError::LimitExceeded(_))), "{refused:?}");
    store.set(&"beta".into(), "c", b"1".to_vec(), None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    store.set(&acme(), "c", b"1".to_vec(), None).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_tenant_holds_is_known_after_any_number_of_changes() {
    let database = Database::in_memory().unwrap();
    let store = SqliteStore::new(database.clone(), Quota { max_keys: 50, max_bytes: 2_000 }).await.unwrap();
    for n in 0..500_usize {
        let (key, tenant) = (format!("ä{}", n * 7 % 60), TenantId::from(["acme", "beta"][n % 2]));
        let ttl = (n % 5 == 0).then_some(Duration::from_millis(1));
        match n % 11 {
            0 => drop(store.delete(&tenant, &key).await.unwrap()),
            // What the quota refuses changes nothing.
            _ => drop(store.set(&tenant, &key, vec![0; n % 90], ttl).await),
        }
    }
    store.sweep().await.unwrap();
    let differing = database.read(|tx| {
        let counted =
            "SELECT tenant, count(*), sum(length(CAST(key AS BLOB)) + length(value)) FROM store GROUP BY tenant";
        tx.query_row(
            &format!("SELECT count(*) FROM (SELECT * FROM ({counted}) EXCEPT SELECT * FROM store_usage)"),
            [],
            |row| row.get::<_, u32>(0),
        )
    });
    assert_eq!(differing.await.unwrap(), 0);
    let held = database.read(|tx| tx.query_row("SELECT sum(keys) FROM store_usage", [], |row| row.get::<_, u32>(0)));
    assert!(held.await.unwrap() > 20);
}

#[tokio::test]
async fn a_store_that_is_old_enough_to_have_no_usage_is_counted_once() {
    let database = Database::in_memory().unwrap();
    let store = SqliteStore::new(database.clone(), Quota::default()).await.unwrap();
    store.set(&acme(), "a", b"12345".to_vec(), None).await.unwrap();
    // As it was left by a host that did not count.
    let undo =
        "DROP TABLE store_usage; DROP TRIGGER store_added; DROP TRIGGER store_changed; DROP TRIGGER store_removed;
                UPDATE migrations SET steps = 1 WHERE module = 'store'";
    database.write(move |tx| tx.execute_batch(undo)).await.unwrap();
    let store = SqliteStore::new(database, Quota { max_keys: 1, max_bytes: 10 }).await.unwrap();
    assert!(store.set(&acme(), "b", Vec::new(), None).await.is_err());
    assert!(store.set(&acme(), "a", vec![0; 10], None).await.is_err());
    store.set(&acme(), "a", vec![0; 9], None).await.unwrap();
}

#[tokio::test]
async fn a_quota_of_a_tenants_own_counts_at_once_and_a_lower_one_takes_nothing_away() {
    let store = store(Quota { max_keys: 2, max_bytes: 100 }).await;
    let (acme, beta) = (acme(), TenantId::from("beta"));
    let set = |tenant, key: &'static str| store.set(tenant, key, b"1".to_vec(), None);
    let other = store.clone();
    other.set_quotas([(acme.clone(), Quota { max_keys: 3, max_bytes: 100 })]);
    for key in ["a", "b", "c"] {
        set(&acme, key).await.unwrap();
    }
    let refused = set(&acme, "d").await;
    assert!(matches!(&refused, Err(CallError::LimitExceeded(why)) if why.contains("3 keys")), "{refused:?}");
    set(&beta, "a").await.unwrap();
    set(&beta, "b").await.unwrap();
    assert!(set(&beta, "c").await.is_err(), "others have what the store was made with");
    other.set_quotas([(acme.clone(), Quota { max_keys: 1, max_bytes: 100 })]);
    assert_eq!(store.keys(&acme, "", 10).await.unwrap().len(), 3);
    set(&acme, "b").await.unwrap();
    assert!(set(&acme, "d").await.is_err());
    other.set_quotas([]);
    store.delete(&acme, "a").await.unwrap();
    store.delete(&acme, "b").await.unwrap();
    set(&acme, "d").await.unwrap();
}
