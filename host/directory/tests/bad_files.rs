//! Whatever is wrong with the files of a plugin directory gets one sentence with its place, and nothing else changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode};
use support::{only_said, with_a_good_tenant};
use voxtra_directory::{ContentHash, Directory, Source};

#[test]
fn no_link_is_followed_out_of_the_directory() {
    let plugins = with_a_good_tenant();
    let secret = plugins.outside().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("a.wasm"), "a").unwrap();
    fs::write(secret.join("a.toml"), "upgrade = \"drain\"").unwrap();
    symlink(&secret, plugins.path("linked")).unwrap();
    plugins.folder("acme");
    symlink(secret.join("a.wasm"), plugins.path("acme/a.wasm")).unwrap();
    plugins.write("acme/b.wasm", "b");
    symlink(secret.join("a.toml"), plugins.path("acme/b.toml")).unwrap();
    plugins.folder("beta");
    symlink(secret.join("a.toml"), plugins.path("beta/tenant.toml")).unwrap();
    plugins.write("acme/c.wasm", "c");
    symlink(secret.join("a.toml"), plugins.path("acme/c.wasm.minisig")).unwrap();
    symlink("nowhere", plugins.path("acme/d.router.wasm")).unwrap();
    let read = plugins.scan();
    let said = "it is a symbolic link, which is not followed; put the file or folder itself here";
    assert_eq!(
        read.sentences(),
        [
            format!("P/acme/a.wasm: {said}; the handler `a` is left out"),
            format!("P/acme/b.toml: {said}; the handler `b` is left out"),
            format!("P/acme/c.wasm.minisig: {said}; the handler `c` is left out"),
            format!("P/acme/d.router.wasm: {said}; the router `d` is left out"),
            format!("P/beta/tenant.toml: {said}; the tenant `beta` is left out"),
            format!("P/linked: {said}; the tenant `linked` is left out"),
        ]
    );
    assert_eq!(read.tenant("acme").handlers.len(), 0);
    assert!(read.has_handler("good", "fine") && !read.has_tenant("linked") && !read.has_tenant("beta"));
}

#[test]
fn the_directory_itself_may_be_a_link() {
    let plugins = with_a_good_tenant();
    let link = plugins.outside().join("link");
    symlink(plugins.root(), &link).unwrap();
    let scan = voxtra_directory::Scanner::new(&link, plugins.host.clone()).scan(&Directory::default()).unwrap();
    assert_eq!((scan.directory.tenants.len(), scan.problems), (1, vec![]));
}

#[test]
fn what_is_no_file_is_neither_read_nor_waited_for() {
    let plugins = with_a_good_tenant();
    plugins.folder("x.wasm");
    plugins.folder("acme/y.wasm");
    plugins.folder("acme/z.toml");
    rustix::fs::mknodat(CWD, plugins.path("acme/pipe.wasm"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    rustix::fs::mknodat(CWD, plugins.path("acme/pipe2.toml"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = UnixListener::bind(plugins.path("acme/socket.filter.wasm")).unwrap();
    let read = plugins.scan();
    let advice = "and not a file; put a file here, or rename it";
    assert_eq!(
        read.sentences(),
        [
            format!("P/acme/pipe.wasm: it is a pipe or a device {advice}; the handler `pipe` is left out"),
            format!("P/acme/pipe2.toml: it is a pipe or a device {advice}; the handler `pipe2` is left out"),
            format!("P/acme/socket.filter.wasm: it is a socket {advice}; the filter `socket` is left out"),
            format!("P/acme/y.wasm: it is a folder {advice}; the handler `y` is left out"),
            format!("P/acme/z.toml: it is a folder {advice}; the handler `z` is left out"),
            format!("P/x.wasm: it is a folder {advice}; the handler `x` is left out"),
        ]
    );
}

#[test]
fn what_is_put_in_the_place_of_a_tenants_folder_does_not_remove_the_tenant() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/a.wasm", "a");
    let before = plugins.scan().directory;
    fs::remove_dir_all(plugins.path("acme")).unwrap();
    let path = plugins.path("acme");
    let not_a_folder = "it is not a folder; put a folder here, or rename it";
    let link = "it is a symbolic link, which is not followed; put the file or folder itself here";
    let puts: [(&dyn Fn(), &str); 3] = [
        (&|| plugins.write("acme", "a file"), not_a_folder),
        (&|| rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap(), not_a_folder),
        (&|| symlink("good", &path).unwrap(), link),
    ];
    for (put, why) in puts {
        put();
        let read = plugins.scan_after(&before);
        only_said(&read, &format!("P/acme: {why}; the tenant `acme` stays as it was"));
        assert_eq!(read.directory, before);
        // Nor is it silent at the next start.
        let read = plugins.scan_served(&Directory::default(), &[("acme", "a")]);
        only_said(&read, &format!("P/acme: {why}; the tenant `acme` is left out"));
        fs::remove_file(&path).unwrap();
    }
    assert!(!plugins.scan_after(&before).has_tenant("acme"), "it goes when its folder is gone");
}

#[test]
fn a_file_beside_the_folders_that_never_was_a_tenant_is_nobodys_business() {
    let plugins = with_a_good_tenant();
    plugins.write("a.wasm", "a");
    let before = plugins.scan().directory;
    plugins.write("LICENSE", "a file");
    plugins.write("default", "another");
    let read = plugins.scan_after(&before);
    assert_eq!((read.sentences(), &read.directory), (vec![], &before));
}

#[test]
fn what_may_not_be_read_is_told_where_the_system_refuses_it() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/a.wasm", "a");
    let before = plugins.scan().directory;
    let path = plugins.path("acme/a.wasm");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything.
    let refused = fs::File::open(&path).is_err();
    let read = plugins.scan_after(&before);
    let sentence = "P/acme/a.wasm: this user may not read it; change its mode; the handler `a` stays as it was";
    assert_eq!(read.sentences(), if refused { vec![sentence] } else { vec![] });
    assert!(read.has_handler("acme", "a"));
}

#[test]
fn a_tenants_name_is_a_plain_word() {
    let plugins = with_a_good_tenant();
    let long = "x".repeat(65);
    let odd = [
        OsStr::from_bytes(b"caf\xe9"),
        OsStr::new(".hidden"),
        OsStr::new("a b"),
        OsStr::new("a.b"),
        OsStr::new("a\nb"),
    ];
    for name in odd.into_iter().chain([OsStr::new(&long), OsStr::new("...")]) {
        fs::create_dir(plugins.root().join(name)).unwrap();
        fs::write(plugins.root().join(name).join("a.wasm"), "a").unwrap();
    }
    let read = plugins.scan();
    let rule = "a tenant's folder name is 1 to 64 letters, digits, `-` or `_`; rename the folder; it is left out";
    let shown = ["...", ".hidden", "a\\nb", "a b", "a.b", "caf\u{fffd}", &long];
    assert_eq!(read.sentences(), shown.map(|name| format!("P/{name}: {rule}")));
    assert_eq!(read.directory.tenants.len(), 1);
}

#[test]
fn a_components_name_is_a_plain_word() {
    let plugins = with_a_good_tenant();
    plugins.folder("acme");
    let long = format!("{}.wasm", "x".repeat(65));
    for name in [
        OsStr::from_bytes(b"\xff.wasm"),
        OsStr::new(".wasm"),
        OsStr::new(".a.wasm"),
        OsStr::new("a b.toml"),
        OsStr::new(&long),
    ] {
        fs::write(plugins.root().join("acme").join(name), "a").unwrap();
    }
    plugins.write("acme/.a.toml", "an editor's");
    plugins.write("acme/a.router.wasm", "a");
    plugins.write("acme/a.router.toml", "a");
    let read = plugins.scan();
    let rule =
        "a component's name is 1 to 64 letters, digits, `-`, `_` or `.`, and not `.` first; rename it; it is left out";
    let mut wanted: Vec<String> = [".a.wasm", ".wasm", "a b.toml"].map(|name| format!("P/acme/{name}: {rule}")).into();
    wanted.push("P/acme/a.router.toml: only a handler has a file such as this beside it, and no router or filter; remove it; it is left out".into());
    wanted.extend([long.as_str(), "\u{fffd}.wasm"].map(|name| format!("P/acme/{name}: {rule}")));
    assert_eq!(read.sentences(), wanted);
    assert_eq!(read.tenant("acme").routers.len(), 1);
    assert_eq!(read.tenant("acme").handlers.len(), 0);
}

#[test]
fn of_names_that_differ_only_by_case_the_one_that_was_there_stays() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/a.wasm", "a");
    let before = plugins.scan().directory;
    plugins.write("ACME/a.wasm", "other");
    plugins.write("acme/A.wasm", "A");
    let read = plugins.scan_after(&before);
    let advice = "only by case; rename one of them";
    assert_eq!(
        read.sentences(),
        [
            format!("P/ACME: it differs from the folder `acme` {advice}; the tenant `ACME` is left out"),
            format!("P/acme/A.wasm: it differs from the handler `a` {advice}; the handler `A` is left out"),
        ]
    );
    assert_eq!(read.directory, before);
    // At a start it is the first by name.
    let read = plugins.scan();
    assert!(read.has_tenant("ACME") && !read.has_tenant("acme"));
}

#[test]
fn a_folder_default_beside_files_is_left_out() {
    let plugins = with_a_good_tenant();
    plugins.write("default/a.wasm", "a");
    assert_eq!(plugins.scan().sentences(), Vec::<String>::new());
    plugins.write("b.wasm", "b");
    let read = plugins.scan();
    only_said(
        &read,
        "P/default: the files beside it are the tenant `default` already; move them into it, or rename it; it is left out",
    );
    assert!(read.has_handler("default", "b") && !read.has_handler("default", "a"));
}

#[test]
fn a_huge_file_is_not_read() {
    let mut plugins = with_a_good_tenant();
    plugins.host.max_component_bytes = 1_000;
    plugins.write("acme/tenant.toml", &"#".repeat((1 << 20) + 1));
    plugins.write("beta/a.wasm", &"a".repeat(1_001));
    plugins.write("beta/b.wasm", &"b".repeat(1_000));
    plugins.write("beta/b.wasm.minisig", &"b".repeat(8_193));
    plugins.write("beta/c.wasm", "c");
    let most = |bytes| format!("it has more than {bytes} bytes, which is the most that is read; make it smaller");
    let read = plugins.scan();
    assert_eq!(
        read.sentences(),
        [
            format!("P/acme/tenant.toml: {}; the tenant `acme` is left out", most(1 << 20)),
            format!("P/beta/a.wasm: {}; the handler `a` is left out", most(1_000)),
            format!("P/beta/b.wasm.minisig: {}; the handler `b` is left out", most(8 << 10)),
        ]
    );
    assert!(read.has_handler("beta", "c"));
}

#[test]
fn manifests_are_small_and_all_of_a_tenants_together_too() {
    let plugins = with_a_good_tenant();
    for i in 0..129 {
        plugins.write(&format!("acme/h{i:03}.wasm"), "h");
        plugins.write(&format!("acme/h{i:03}.toml"), &"#".repeat(64 << 10));
    }
    plugins.write("beta/a.toml", &"#".repeat((64 << 10) + 1));
    let read = plugins.scan();
    assert_eq!(
        read.sentences(),
        [
            "P/acme/h128.toml: the tenant's files such as this have more than 8 MiB together; make them smaller; the handler `h128` is left out",
            "P/beta/a.toml: it has more than 65536 bytes, which is the most that is read; make it smaller; the handler `a` is left out",
        ]
    );
    assert_eq!(read.tenant("acme").handlers.len(), 128);
}

#[test]
fn a_folder_of_too_many_entries_is_not_read() {
    let plugins = with_a_good_tenant();
    plugins.folder("acme");
    for i in 0..10_001 {
        fs::write(plugins.path(&format!("acme/{i}")), "").unwrap();
    }
    let read = plugins.scan();
    only_said(
        &read,
        "P/acme: it has more than 10000 entries, which is the most that are read; move some away; the tenant `acme` is left out",
    );
    fs::rename(plugins.path("acme"), plugins.outside().join("many")).unwrap();
    let error =
        voxtra_directory::Scanner::new(plugins.outside().join("many"), plugins.host.clone()).scan(&read.directory);
    assert!(error.unwrap_err().to_string().contains("it has more than 10000 entries"));
}

#[test]
fn a_tenant_has_as_many_components_as_it_may() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/tenant.toml", "[limits]\nmax_components = 2");
    plugins.write("acme/a.wasm", "a");
    plugins.write("acme/b.toml", "oci = 1");
    plugins.write("acme/c.filter.wasm", "c");
    only_said(
        &plugins.scan(),
        "P/acme: it has 3 components and may have 2; remove some, or raise `limits.max_components`; the tenant `acme` is left out",
    );
}

#[test]
fn one_tenants_faults_do_not_hide_anothers() {
    let plugins = with_a_good_tenant();
    for i in 0..150 {
        plugins.write(&format!("acme/h{i:03}.toml"), "?");
    }
    plugins.write("beta/a.toml", "upgrade = 1");
    let read = plugins.scan();
    let said = read.sentences();
    assert_eq!(said.len(), 102);
    assert_eq!(said[0], "P/acme: 50 more of its files have problems, beside 100 that are told; it is left out");
    assert_eq!(said[101], "P/beta/a.toml, line 1: `upgrade` must be a text in quotes; the handler `a` is left out");
}

#[test]
fn a_file_that_is_replaced_all_the_time_is_one_of_them_as_a_whole() {
    let plugins = with_a_good_tenant();
    let texts = ["a".repeat(300_000), "b".repeat(300_000)];
    plugins.write("acme/a.wasm", &texts[0]);
    let hashes = texts.each_ref().map(|text| ContentHash::of(text.as_bytes()));
    let (path, new) = (plugins.path("acme/a.wasm"), plugins.path("acme/new"));
    let mut directory = plugins.scan().directory;
    std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            for text in texts.iter().cycle().take(400) {
                fs::write(&new, text).unwrap();
                fs::rename(&new, &path).unwrap();
            }
        });
        let mut scanner = plugins.scanner();
        while !swaps.is_finished() {
            directory = scanner.scan(&directory).unwrap().directory;
            let handler = &directory.tenants[&"acme".into()].handlers[&"a".into()];
            let Source::File(file) = &handler.source else { panic!("a file") };
            assert!(hashes.contains(&file.content));
        }
    });
    let last = plugins.scan_after(&directory);
    assert_eq!(last.sentences(), Vec::<String>::new());
}

#[test]
fn the_bytes_of_a_plan_are_those_that_were_found_or_none() {
    let plugins = with_a_good_tenant();
    plugins.write("acme/a.wasm", "first");
    plugins.write("flat.wasm", "flat");
    let read = plugins.scan();
    let root = plugins.root();
    let file = |tenant: &str, handler: &str| match &read.handler(tenant, handler).source {
        Source::File(file) => file.clone(),
        Source::Oci(_) => panic!("a file"),
    };
    let (a, flat) = (file("acme", "a"), file("default", "flat"));
    assert_eq!((a.read(&root).unwrap(), flat.read(&root).unwrap()), (b"first".to_vec(), b"flat".to_vec()));

    let said = |wanted: &str| {
        let error = a.read(&root).unwrap_err().to_string();
        assert_eq!(error.replace(&format!("{}/", root.display()), "P/"), format!("P/acme/a.wasm: {wanted}"));
    };
    plugins.write("acme/a.wasm", "other");
    said("it has changed since it was looked at; the next look finds what it is now");
    plugins.write("acme/a.wasm", "longer");
    said("it has more than 5 bytes, which is the most that is read; make it smaller");
    // The same bytes, but through a link.
    fs::rename(plugins.path("acme"), plugins.outside().join("moved")).unwrap();
    fs::write(plugins.outside().join("moved/a.wasm"), "first").unwrap();
    symlink(plugins.outside().join("moved"), plugins.path("acme")).unwrap();
    said("it is a symbolic link, which is not followed; put the file or folder itself here");
    assert!(a.read(plugins.outside()).is_err());
}
