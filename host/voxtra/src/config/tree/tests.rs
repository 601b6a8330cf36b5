#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Node, ConfigError> {
    parse(text, &|_| Ok(None))
}

fn text_at<'a>(node: &'a Node, path: &[&str]) -> &'a Kind {
    let mut node = node;
    for key in path {
        node = node.get(key).unwrap();
    }
    &node.kind
}

#[test]
fn plain_words_mean_what_they_mean_to_pyyaml() {
    let text = |t: &str| Kind::Text(t.to_owned());
    for (written, wanted) in [
        ("yes", Kind::Bool(true)),
        ("Off", Kind::Bool(false)),
        ("y", text("y")),
        ("tRue", text("tRue")),
        ("~", Kind::Null),
        ("8088", Kind::Int(8088)),
        ("-1_000", Kind::Int(-1000)),
        ("017", Kind::Int(15)),
        ("018", text("018")),
        ("0o17", text("0o17")),
        ("0x1F", Kind::Int(31)),
        ("0b101", Kind::Int(5)),
        ("1:30", Kind::Int(90)),
        ("1:60", text("1:60")),
        ("+265991", Kind::Int(265_991)),
        ("1.5", Kind::Float(1.5)),
        (".5", Kind::Float(0.5)),
        ("-.5", text("-.5")),
        ("1.", Kind::Float(1.0)),
        ("1e5", text("1e5")),
        ("1.0e5", text("1.0e5")),
        ("1.0e+5", Kind::Float(1e5)),
        ("1:30.5", Kind::Float(90.5)),
        ("-.inf", Kind::Float(f64::NEG_INFINITY)),
        ("99999999999999999999", Kind::Float(1e20)),
        ("1.2.3", text("1.2.3")),
        ("127.0.0.1:9092", text("127.0.0.1:9092")),
        ("nova-2", text("nova-2")),
        ("+", text("+")),
    ] {
        assert_eq!(resolve_plain(written), wanted, "{written}");
    }
}

#[test]
fn quotes_and_tags_keep_text_text() {
    let node = read("a: '8088'\nb: \"yes\"\nc: !!str 12\nd: !!int '7'\n").unwrap();
    assert_eq!(text_at(&node, &["a"]), &Kind::Text("8088".into()));
    assert_eq!(text_at(&node, &["b"]), &Kind::Text("yes".into()));
    assert_eq!(text_at(&node, &["c"]), &Kind::Text("12".into()));
    assert_eq!(text_at(&node, &["d"]), &Kind::Int(7));
    assert!(read("a: !!python/object:os.system x").unwrap_err().to_string().contains("tag"));
}

#[test]
fn merged_keys_stand_behind_own_ones() {
    let node = read("base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  y: 3\n").unwrap();
    assert_eq!(text_at(&node, &["mine", "x"]), &Kind::Int(1));
    assert_eq!(text_at(&node, &["mine", "y"]), &Kind::Int(3));
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    assert_eq!(text_at(&read("a: 1\na: 2\n").unwrap(), &["a"]), &Kind::Int(2));
}

#[test]
fn an_alias_bomb_is_refused_before_it_goes_off() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    let error = read(&bomb).unwrap_err();
    assert!(error.to_string().contains("values"), "{error}");
}

#[test]
fn a_deep_file_is_refused() {
    for deep in ["[".repeat(5_000), "{a: ".repeat(5_000), (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect()]
    {
        assert!(read(&deep).is_err());
    }
}

#[test]
fn an_alias_cannot_stand_in_itself() {
    assert!(read("a: &a [*a]").is_err());
}

#[test]
fn a_second_document_is_refused() {
    assert_eq!(read("a: 1\n---\nb: 2\n").unwrap_err().line, Some(2));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn nothing_that_looks_like_yaml_makes_it_panic(text in "([\\-?:,\\[\\]{}#&*!|>'\"%@` \n\t]|[a-c0-9.]|<<|~|\\.\\.\\.|---|&a |\\*a){0,120}") {
        let _ = read(&text);
    }

    #[test]
    fn no_plain_scalar_makes_it_panic(text in "[-+]?[0-9a-fx_.:eE]{0,60}") {
        let _ = resolve_plain(&text);
    }
}

#[test]
fn what_the_configuration_class_of_0_3_1_writes_is_read() {
    let text = "media:
  codec: &id001 !!python/object/apply:voxtra.types.AudioCodec
  - alaw
  extra: !!python/tuple
  - 1
  - 2
trunk: {codec: *id001}
";
    let node = read(text).unwrap();
    assert_eq!(text_at(&node, &["media", "codec"]), &Kind::Text("alaw".into()));
    assert_eq!(text_at(&node, &["trunk", "codec"]), &Kind::Text("alaw".into()));
    assert_eq!(text_at(&node, &["media", "extra", "1"]), &Kind::Int(2));
    for strange in [
        "a: !!python/object/apply:os.system [x]",
        "a: !!python/object/apply:voxtra.types.AudioCodec [x, y]",
        "a: !!python/object/apply:voxtra.types.AudioCodec {x: y}",
        "a: !!python/object/apply:voxtra.types.AudioCodec x",
        "a: !!python/tuple {x: y}",
    ] {
        assert!(read(strange).unwrap_err().to_string().contains("tag"), "{strange}");
    }
}
