//! Files that an operator names. Reading one never waits for ever, and writing one puts no file in the place of what is
//! none (a device, a pipe, a link).

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// How long nothing may come through a pipe, and how long somebody is waited for who reads one.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// As many links in a row as the system follows.
const LINKS_MAX: usize = 40;

/// Reads a regular file of at most so many bytes, for instance one that the configuration names. What is no file is
/// refused and not waited for. The sentence goes behind the file's name.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    let file = open(path).map_err(|error| unreadable(&error))?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err("it is no regular file; name one".to_owned());
    }
    read_to_end(&file, max_bytes, PATIENCE)
}

/// Reads what is named on the command line: a file, or a pipe such as `/dev/stdin` or a shell's `<(…)`, of at most so many
/// bytes. A pipe may be silent for 30 s. The sentence goes behind the file's name.
pub(crate) fn read_or_pipe(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    let file = open(path).map_err(|error| unreadable(&error))?;
    read_to_end(&file, max_bytes, PATIENCE)
}

/// Without waiting for who writes into a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn read_to_end(mut file: &File, max_bytes: u64, patience: Duration) -> Result<Vec<u8>, String> {
    let is_pipe = file.metadata().is_ok_and(|found| found.file_type().is_fifo());
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
    let mut until = Instant::now() + patience;
    loop {
        match file.read(&mut chunk) {
            // Nobody has opened it for writing yet.
            Ok(0) if is_pipe && bytes.is_empty() => {}
            Ok(0) => return Ok(bytes),
            Ok(count) => {
                bytes.extend(chunk.iter().take(count));
                if bytes.len() as u64 > max_bytes {
                    return Err(too_large(max_bytes));
                }
                until = Instant::now() + patience;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(&error)),
        }
        if Instant::now() >= until {
            return Err(format!("nothing has come through it for {} s; name a file", patience.as_secs()));
        }
        sleep(POLL);
    }
}

fn too_large(max_bytes: u64) -> String {
    match max_bytes >> 20 {
        0 => format!("it is larger than {max_bytes} bytes; name another"),
        mib => format!("it is larger than {mib} MiB; name another"),
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "it cannot be read: it is not there; correct its name".to_owned(),
        ErrorKind::PermissionDenied => "it cannot be read by this user; change its mode".to_owned(),
        _ => format!("it cannot be read ({error}); name another"),
    }
}

/// What is written at a place that an operator names. A regular file is replaced when all of it is written, and is as it
/// was when it is not; behind a link it is the link's target that is. A device or a pipe is written into.
pub(crate) struct Output {
    file: File,
    /// The unfinished file, and whose place it takes.
    replaces: Option<(PathBuf, PathBuf)>,
}

impl Output {
    /// Opens it. A new file has this mode, less the user's mask. A pipe that nobody reads is waited for, 30 s.
    pub(crate) fn open(path: &Path, mode: u32) -> io::Result<Self> {
        let Some(target) = replaceable(path)? else {
            return Ok(Self { file: open_through(path)?, replaces: None });
        };
        let mut name = target.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = target.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        Ok(Self { file, replaces: Some((part, target)) })
    }

    /// Another handle to what is written.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// All is written: a file takes its place.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some((part, target)) = &self.replaces {
            self.file.sync_all()?;
            fs::rename(part, target)?;
            self.replaces = None;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.replaces {
            // It is ours and of no use.
            let _ = fs::remove_file(part);
        }
    }
}

/// Writes a whole [`Output`].
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let output = Output::open(path, mode)?;
    output.file()?.write_all(bytes)?;
    output.finish()
}

/// Copies a file that is ours into a whole [`Output`].
pub(crate) fn copy(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let output = Output::open(to, mode)?;
    io::copy(&mut File::open(from)?, &mut output.file()?)?;
    output.finish()
}

/// The file that is written when one is written at that path, links followed; `None`: what is there is no file to be
/// replaced.
fn replaceable(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut target = path.to_owned();
    for _ in 0..=LINKS_MAX {
        let name = target.file_name().ok_or(ErrorKind::IsADirectory)?.to_owned();
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::canonicalize(parent)?;
        // An open file of this or another process, such as `/dev/stdout`: its place is not its name's.
        if folder.starts_with("/proc") {
            return Ok(None);
        }
        target = folder.join(name);
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => target = folder.join(fs::read_link(&target)?),
            Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Ok(found) => return Ok(found.is_file().then_some(target)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(target)),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there are too many symbolic links in a row"))
}

/// Opens what is there already, without emptying it.
fn open_through(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let nobody_reads = rustix::io::Errno::NXIO.raw_os_error();
    let until = Instant::now() + PATIENCE;
    let file = loop {
        match OpenOptions::new().append(true).custom_flags(flags).open(path) {
            Err(error) if error.raw_os_error() == Some(nobody_reads) && is_pipe(path) => {
                if Instant::now() >= until {
                    return Err(io::Error::other(format!("nobody has read from it for {} s", PATIENCE.as_secs())));
                }
                sleep(POLL);
            }
            other => break other?,
        }
    };
    // From here on whoever reads is waited for.
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let dir = std::env::temp_dir().join(format!("voxtra-files-{}", uuid::Uuid::new_v4()));
            fs::create_dir(&dir).unwrap();
            Self(dir)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn pipe(&self) -> PathBuf {
            let path = self.at("pipe");
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            path
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_named_file_is_read_and_what_is_none_is_refused_at_once() {
        let dir = Folder::new();
        fs::write(dir.at("file"), "1234").unwrap();
        symlink("file", dir.at("link")).unwrap();
        assert_eq!(read(&dir.at("link"), 4).unwrap(), b"1234");
        assert!(read(&dir.at("file"), 3).unwrap_err().contains("larger than 3 bytes"));
        assert!(read(&dir.at("none"), 3).unwrap_err().contains("not there"));
        for path in [dir.pipe(), dir.0.clone(), "/dev/zero".into()] {
            let why = read(&path, 4).unwrap_err();
            assert!(why.contains("no regular file"), "{path:?}: {why}");
        }
    }

    #[test]
    fn a_pipe_on_the_command_line_is_read_to_its_end_and_not_waited_for_for_ever() {
        let dir = Folder::new();
        let pipe = dir.pipe();
        let short = Duration::from_millis(50);
        let why = read_to_end(&open(&pipe).unwrap(), 100, short).unwrap_err();
        assert!(why.contains("nothing has come"), "{why}");
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut file = OpenOptions::new().write(true).open(pipe).unwrap();
                file.write_all(&[7; 100_000]).unwrap();
                sleep(Duration::from_millis(30));
                file.write_all(b"end").unwrap();
            }
        });
        let read = read_or_pipe(&pipe, 200_000).unwrap();
        writer.join().unwrap();
        assert!(read.len() == 100_003 && read.ends_with(b"\x07end"));
        assert!(read_or_pipe(Path::new("/dev/zero"), 1_000).unwrap_err().contains("larger than 1000 bytes"));
        assert!(read_or_pipe(&dir.0, 1_000).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn a_file_is_replaced_when_it_is_whole_and_left_alone_when_it_is_not() {
        let dir = Folder::new();
        let path = dir.at("out");
        fs::write(&path, "old").unwrap();
        let unfinished = Output::open(&path, 0o600).unwrap();
        unfinished.file().unwrap().write_all(b"ne").unwrap();
        drop(unfinished);
        assert_eq!((fs::read(&path).unwrap(), dir.names()), (b"old".to_vec(), vec!["out".to_owned()]));
        write(&path, b"new", 0o600).unwrap();
        assert_eq!((fs::read(&path).unwrap(), dir.names()), (b"new".to_vec(), vec!["out".to_owned()]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(write(&dir.0, b"new", 0o600).is_err());
        assert!(write(&dir.at("none/out"), b"new", 0o600).is_err());
    }

    #[test]
    fn a_link_stays_and_its_target_is_written() {
        let dir = Folder::new();
        fs::create_dir(dir.at("deep")).unwrap();
        symlink("deep/link", dir.at("link")).unwrap();
        symlink("../target", dir.at("deep/link")).unwrap();
        for text in ["made", "replaced"] {
            write(&dir.at("link"), text.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(dir.at("target")).unwrap(), text);
            assert!(dir.at("link").is_symlink() && dir.at("deep/link").is_symlink());
        }
        symlink("round", dir.at("round")).unwrap();
        assert!(write(&dir.at("round"), b"x", 0o600).is_err());
    }

    #[test]
    fn a_pipe_and_an_open_file_are_written_into_and_stay_what_they_are() {
        let dir = Folder::new();
        let pipe = dir.pipe();
        symlink("pipe", dir.at("link")).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        // More than a pipe holds: who reads is waited for.
        write(&dir.at("link"), &[7; 200_000], 0o600).unwrap();
        assert_eq!(reader.join().unwrap().len(), 200_000);
        assert!(is_pipe(&pipe) && dir.at("link").is_symlink());

        fs::write(dir.at("log"), "before ").unwrap();
        let log = OpenOptions::new().append(true).open(dir.at("log")).unwrap();
        use std::os::fd::AsRawFd;
        let inode = log.metadata().unwrap().ino();
        write(format!("/proc/self/fd/{}", log.as_raw_fd()).as_ref(), b"after", 0o600).unwrap();
        assert_eq!(fs::read_to_string(dir.at("log")).unwrap(), "before after");
        assert_eq!(fs::metadata(dir.at("log")).unwrap().ino(), inode);

        let null = fs::metadata("/dev/null").unwrap();
        // Its folder may not be written by everybody, so that nothing is lost when this fails.
        assert!(replaceable(Path::new("/dev/null")).unwrap().is_none());
        write(Path::new("/dev/null"), b"gone", 0o600).unwrap();
        assert_eq!(fs::metadata("/dev/null").unwrap().rdev(), null.rdev());
    }
}
