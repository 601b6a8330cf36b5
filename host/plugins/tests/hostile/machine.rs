//! The machine's time and memory.

use voxtra_plugins::fake::FakeCall;
use voxtra_plugins::{Outcome, TrapKind};

use crate::support::{
    Ran, Written, assert_the_next_call_is_served, attack, briefly, by_default, guest, load, run, runtime,
};

#[tokio::test]
async fn loops_of_all_kinds_are_stopped_when_their_running_time_is_spent() {
    for name in ["spin", "spin-on-host", "fill", "copy"] {
        assert_eq!(attack(briefly(), "compute", name).await.trap(), TrapKind::CpuLimit, "{name}");
    }
}

#[tokio::test]
async fn tail_calls_and_start_code_are_running_time_too() {
    let tail_calls = Written {
        fields: "(memory (export \"memory\") 1) (func $a return_call $b) (func $b return_call $a)",
        body: "(call $a)",
        ..Written::default()
    };
    assert_eq!(tail_calls.run(briefly()).await.trap(), TrapKind::CpuLimit);

    let in_start = "(memory (export \"memory\") 1) (func $start (loop $l (br $l))) (start $start)";
    let runtime = runtime(briefly());
    let spinner = load(&runtime, &Written { fields: in_start, ..Written::default() }.wasm()).unwrap();
    let why = spinner.instantiate(std::sync::Arc::new(FakeCall::new())).await.err().unwrap().to_string();
    assert!(why.contains("running time"), "{why}");
    assert_the_next_call_is_served(&runtime).await;
}

#[tokio::test]
async fn memory_is_refused_at_once_and_in_steps_and_the_abort_is_named() {
    assert_eq!(attack(by_default(), "compute", "memory-once").await.got("1 GiB"), "refused");
    let got = attack(by_default(), "compute", "memory-steps").await.got("1 MiB each");
    let mib: u32 = got.strip_prefix("refused after ").unwrap().parse().unwrap();
    assert!((32..64).contains(&mib), "{got}");
    assert_eq!(attack(by_default(), "compute", "memory-abort").await.trap(), TrapKind::MemoryLimit);
}

/// Grows until it is refused and returns how much there is then.
const GROWER: &str = r#"(core module $grower (memory 1)
    (func (export "grow") (result i32)
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        (memory.size)))"#;

#[tokio::test]
async fn the_memories_of_an_instance_share_one_limit() {
    let beside = format!("{GROWER} (core instance $a (instantiate $grower)) (core instance $b (instantiate $grower))");
    let attack = Written {
        beside: &beside,
        with: "(with \"a\" (instance $a)) (with \"b\" (instance $b))",
        fields: "(import \"a\" \"grow\" (func $a (result i32))) (import \"b\" \"grow\" (func $b (result i32)))
                 (memory (export \"memory\") 1)",
        // 64 MiB are 1,024 pages. More of them: it reaches outside its memory; else it panics because of the refusal.
        body: "(if (i32.gt_u (i32.add (call $a) (call $b)) (i32.const 1024)) (then (drop (i32.load (i32.const -8)))))
               unreachable",
    };
    assert_eq!(attack.run(by_default()).await.trap(), TrapKind::MemoryLimit);
}

#[tokio::test]
async fn memories_that_are_too_large_together_from_their_start_do_not_start() {
    let beside = "(core module $large (memory 320))".to_owned() + &"(core instance (instantiate $large))".repeat(4);
    let runtime = runtime(by_default());
    let large = load(&runtime, &Written { beside: &beside, ..Written::default() }.wasm()).unwrap();
    let why = large.instantiate(std::sync::Arc::new(FakeCall::new())).await.err().unwrap().to_string();
    assert!(why.contains("more memory than it may have"), "{why}");
    assert_the_next_call_is_served(&runtime).await;
}

#[tokio::test]
async fn a_memory_of_64_bits_is_no_larger() {
    let beside = "(core module $wide (memory i64 1) (func (export \"grow\") (result i64)
            (loop $more (br_if $more (i64.ne (memory.grow (i64.const 16)) (i64.const -1))))
            (drop (memory.grow (i64.const 0x1000000000000)))
            (memory.size)))
        (core instance $w (instantiate $wide))";
    let attack = Written {
        beside,
        with: "(with \"w\" (instance $w))",
        fields: "(import \"w\" \"grow\" (func $grow (result i64))) (memory (export \"memory\") 1)",
        body: "(if (i64.gt_u (call $grow) (i64.const 1024)) (then (drop (i32.load (i32.const -8))))) unreachable",
    };
    assert_eq!(attack.run(by_default()).await.trap(), TrapKind::MemoryLimit);
}

#[tokio::test]
async fn tables_grow_to_their_limit_and_no_further() {
    let attack = Written {
        fields: "(memory (export \"memory\") 1) (table $t 1 funcref)",
        body: "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
               (if (i32.gt_u (table.size $t) (i32.const 40000)) (then (drop (i32.load (i32.const -8)))))
               unreachable",
        ..Written::default()
    };
    assert_eq!(attack.run(by_default()).await.trap(), TrapKind::MemoryLimit);
}

#[tokio::test]
async fn deep_recursion_is_named_and_its_backtrace_is_short() {
    let ran = attack(by_default(), "compute", "recursion").await;
    assert_eq!(ran.trap(), TrapKind::StackOverflow);
    let Outcome::Trapped(trap) = ran.outcome else { unreachable!() };
    assert!((1..=32).contains(&trap.backtrace.len()), "{}", trap.backtrace.len());
    assert!(ran.logs.len() < 40, "{} lines", ran.logs.len());
}

#[tokio::test]
async fn exit_ends_the_instance_and_not_the_host() {
    let runtime = runtime(by_default());
    let call = FakeCall::new().with_metadata([("attack", "exit")]);
    assert_eq!(run(&guest(&runtime, "compute"), call).await.trap(), TrapKind::Exit);
    assert_the_next_call_is_served(&runtime).await;
}

/// What a former call has left where this one is: nothing. Each call looks at all of its memory, its table and its global,
/// and leaves marks everywhere; the control looks twice in one instance, and finds them.
#[tokio::test]
async fn nothing_is_left_of_a_former_call() {
    const LOOK_AND_MARK: &str = r#"
        (memory $m (export "memory") 16) (table $t 10000 funcref) (global $g (mut i64) (i64.const 0))
        (elem declare func $look)
        (func $look (local $at i32) (local $end i32)
            (local.set $end (i32.mul (memory.size) (i32.const 65536)))
            (loop $next
                (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
            ;; The first bytes are what `handle` returns.
            (memory.fill (i32.const 64) (i32.const 0xa5) (i32.sub (local.get $end) (i32.const 64))))
        (func $look_at_table (local $at i32)
            (loop $next
                (if (i32.eqz (ref.is_null (table.get $t (local.get $at)))) (then unreachable))
                (table.set $t (local.get $at) (ref.func $look))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $at) (i32.const 10000)))))"#;
    const BODY: &str = "
        (if (i64.ne (global.get $g) (i64.const 0)) (then unreachable))
        (global.set $g (i64.const -1))
        (call $look) (call $look_at_table)
        ;; What is grown comes without marks too.
        (memory.fill (i32.const 64) (i32.const 0) (i32.const 1048512))
        (drop (memory.grow (i32.const 400))) (call $look)";

    let runtime = runtime(by_default());
    let marker = Written { fields: LOOK_AND_MARK, body: BODY, ..Written::default() };
    let marker = load(&runtime, &marker.wasm()).unwrap();
    for call in 0..5 {
        let mut instance = marker.instantiate(std::sync::Arc::new(FakeCall::new())).await.unwrap();
        assert_eq!(instance.handle().await, Outcome::Returned, "call {call}");
        assert!(
            matches!(instance.handle().await, Outcome::Trapped(t) if t.kind == TrapKind::Unreachable),
            "the control"
        );
    }
}

/// One host call that makes the host draw this many random bytes.
async fn draws(bytes: u64) -> Ran {
    let beside = r#"
        (import "wasi:random/random@0.2.6" (instance $random
            (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
        (core module $libc (memory (export "memory") 600)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc (instantiate $libc))
        (core func $bytes (canon lower (func $random "get-random-bytes")
            (memory $libc "memory") (realloc (func $libc "realloc"))))"#;
    let attack = Written {
        beside,
        with: "(with \"host\" (instance (export \"bytes\" (func $bytes))))",
        fields: "(import \"host\" \"bytes\" (func $bytes (param i64 i32))) (memory (export \"memory\") 1)",
        body: &format!("(call $bytes (i64.const {bytes}) (i32.const 16))"),
    };
    attack.run(by_default()).await
}

#[tokio::test]
async fn the_host_does_not_draw_random_bytes_without_end() {
    assert_eq!(draws(1_000).await.outcome, Outcome::Returned);
    for bytes in [1 << 27, 1 << 40, u64::MAX] {
        assert_eq!(draws(bytes).await.trap(), TrapKind::Other, "{bytes}");
    }
}

#[tokio::test]
async fn the_host_does_not_draw_megabytes_at_once() {
    assert_eq!(draws(32 << 20).await.trap(), TrapKind::Other);
}
