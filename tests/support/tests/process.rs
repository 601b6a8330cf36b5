//! Children die with their parent, even when it has no time to do anything about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use voxtra_test_support::process::{spawn, tethered};

const AS_PARENT: &str = "VOXTRA_TEST_IS_PARENT";

#[test]
fn a_child_does_not_outlive_a_parent_that_is_killed() {
    if std::env::var_os(AS_PARENT).is_some() {
        let mut command = tethered("sleep");
        command.arg("600").stdout(Stdio::null()).stderr(Stdio::null());
        // Started in a thread that ends at once: that alone must not kill the child.
        let child = std::thread::spawn(|| spawn(command).unwrap()).join().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        println!("alive={} child={}", process(child.id()).exists(), child.id());
        std::process::abort();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_does_not_outlive_a_parent_that_is_killed", "--nocapture"])
        .env(AS_PARENT, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, said) = text.split_once("alive=").unwrap_or_else(|| panic!("{text}"));
    let (alive, child) = said.split_once(" child=").unwrap();
    assert_eq!(alive, "true", "{text}");
    let child = process(child.lines().next().unwrap().trim().parse().unwrap());
    let until = Instant::now() + Duration::from_secs(10);
    while child.exists() {
        assert!(Instant::now() < until, "{} is still there", child.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn process(id: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{id}"))
}
