//! Texts that mean something else to whom they are passed on.

use std::sync::LazyLock;

use voxtra_sdk::log;

/// A text and what it is called in a report.
pub(crate) type Text = (&'static str, String);

/// More than any name may have, and little enough for a host call.
const LONG: usize = 5_000;

/// For a PBX, its dialplan, SIP, HTTP, a shell, a terminal.
pub(crate) static EVIL: LazyLock<Vec<Text>> = LazyLock::new(|| {
    let mut texts = named(&[
        ("crlf", "100\r\nAction: Originate"),
        ("lf", "100\nX-Evil: 1"),
        ("cr", "100\r"),
        ("nul", "100\0.wav"),
        ("escape", "\u{1b}[2J\u{1b}]0;owned\u{7}"),
        ("delete", "100\u{7f}"),
        ("c1", "100\u{85}\u{9b}2J"),
        ("line-separator", "100\u{2028}200"),
        ("right-to-left", "100\u{202e}002"),
        ("byte-order-mark", "\u{feff}100"),
        ("shell", "${SHELL(touch /tmp/owned)}"),
        ("system", "100,1,System(touch /tmp/owned)"),
        ("environment", "${ENV(HOME)}"),
        ("expression", "$[1+1]"),
        ("backquote", "`id`"),
        ("and", "PJSIP/100&PJSIP/200"),
        ("local", "Local/s@default/n"),
        ("at", "100@evil-context"),
        ("uri", "PJSIP/trunk/sip:1@attacker.example;transport=tcp"),
        ("semicolon", "100;a=b"),
        ("comma", "100,2,hH"),
        ("pipe", "100|2"),
        ("quotes", "100\"'<sip:evil@attacker.example>"),
        ("percent", "100%0d%0aX-Evil:%201"),
        ("query", "100?app=other&endpoint=PJSIP/200"),
        ("fragment", "100#x"),
        ("slash", "100/../../channels"),
        ("braces", "{number}"),
        ("wide-digits", "\u{ff11}\u{ff10}\u{ff10}"),
        ("empty", ""),
        ("blank", " "),
    ]);
    texts.push(("overlong", "1".repeat(LONG)));
    texts
});

/// Ways out of a folder.
pub(crate) static PATHS: LazyLock<Vec<Text>> = LazyLock::new(|| {
    let mut texts = named(&[
        ("up", "../../../../etc/passwd"),
        ("dots", ".."),
        ("dot", "."),
        ("root", "/etc/passwd"),
        ("inside", "a/../../b"),
        ("trailing", "a/"),
        ("double", "a//b"),
        ("backslash", "..\\..\\etc\\passwd"),
        ("nul", "a\0.wav"),
        ("hidden", ".htaccess"),
        ("encoded", "%2e%2e%2fetc%2fpasswd"),
        ("overlong-utf8", "\u{ff0e}\u{ff0e}\u{ff0f}etc"),
        ("other-tenant", "../beta/welcome"),
        ("scheme", "file:///etc/passwd"),
        ("proc", "/proc/self/environ"),
        ("device", "/dev/zero"),
        ("newline", "a\nb"),
    ]);
    texts.push(("overlong", "a".repeat(LONG)));
    texts
});

fn named(texts: &[(&'static str, &str)]) -> Vec<Text> {
    texts.iter().map(|&(name, text)| (name, text.to_owned())).collect()
}

/// The texts as log lines, as a field's name and as its value, and printed; and a line that looks like another's.
pub(crate) fn log_them() -> Option<()> {
    let forged = "ok\n2026-01-01T00:00:00Z ERROR voxtra: the operator's password is\tx";
    for (_, text) in EVIL.iter().filter(|(name, _)| *name != "overlong") {
        log::warn!("{text}");
        log::write(log::Level::Info, "field", &[(text.clone(), text.clone())]);
        println!("{text}");
    }
    log::info!("{forged}");
    println!("{forged}");
    Some(())
}
