//! Debian packages without installing them: resolved and fetched by apt against a state of our own, and unpacked into
//! a folder. The machine's own package state is neither read (but for the mirror's address) nor changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Mirrors drop connections now and then; apt itself retries each file as often again.
const ATTEMPTS: u32 = 3;

/// Where Debian keeps the keys that its archives are signed with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt of our own in a folder, which sees the suites it is given and no installed package.
#[derive(Debug)]
pub struct PrivateApt {
    dir: PathBuf,
    archive: Archive,
    mirror: String,
}

/// What apt calls the archive of a suite beside the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// The mirror's main archive.
    Main,
    /// The security archive that this machine's apt knows.
    Security,
}

impl Archive {
    fn suite_of(self, release: &str) -> String {
        match self {
            Self::Main => release.to_owned(),
            Self::Security => format!("{release}-security"),
        }
    }
}

impl PrivateApt {
    /// Prepares the folder, from nothing.
    ///
    /// The mirror is `$VOXTRA_DEBIAN_MIRROR`, else the one that this machine's own apt uses for its own release.
    ///
    /// # Errors
    /// When this is not a Debian machine with apt, or the folder cannot be written.
    pub fn new(dir: &Path) -> Result<Self> {
        Self::of(dir, Archive::Main)
    }

    /// As [`PrivateApt::new`], for either archive.
    ///
    /// # Errors
    /// As there.
    pub fn of(dir: &Path, archive: Archive) -> Result<Self> {
        for tool in ["apt-get", "apt-cache", "dpkg-deb", "tar"] {
            ensure!(crate::process::program(tool).is_some(), "this machine has no {tool} (Debian's packages need it)");
        }
        let mirror = mirror(archive)?;
        let _ = fs::remove_dir_all(dir);
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(folder)).with_context(|| format!("cannot write to {}", dir.display()))?;
        }
        fs::write(dir.join("state/status"), "")?;
        let apt = Self { dir: dir.to_path_buf(), archive, mirror };
        fs::write(dir.join("apt.conf"), apt.configuration())?;
        Ok(apt)
    }

    /// Reads the package lists of one suite, in place of the suite read before.
    ///
    /// # Errors
    /// When the mirror does not have it, or cannot be reached after several attempts.
    pub fn use_suite(&self, suite: &str) -> Result<()> {
        let signed = if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
        let line = format!("deb [target=Packages{signed}] {} {suite} main\n", self.mirror);
        fs::write(self.dir.join("sources.list"), line)?;
        retried(|| self.run("apt-get", &["update", "--error-on=any"]).map(drop))
            .with_context(|| format!("Debian's suite {suite} cannot be read"))
    }

    /// Reads the package lists of this machine's own release.
    ///
    /// # Errors
    /// As [`PrivateApt::use_suite`].
    pub fn use_own_release(&self) -> Result<()> {
        self.use_suite(&self.own_suite()?)
    }

    /// The versions that the suite has of a package, as apt orders them.
    ///
    /// # Errors
    /// When apt fails.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = self.run("apt-cache", &["madison", package])?;
        Ok(table.lines().filter_map(|line| line.split('|').nth(1)).map(|v| v.trim().to_owned()).collect())
    }

    /// The names of the packages that a `name=version` depends on, first alternatives only.
    ///
    /// # Errors
    /// When apt fails.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let record = self.run("apt-cache", &["show", package])?;
        let line = record.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        Ok(line.split(',').filter_map(|one| one.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Fetches packages, `name` or `name=version`, with everything that they need; returns the files.
    ///
    /// # Errors
    /// When they cannot be resolved or fetched.
    pub fn fetch_with_needs(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut args = vec!["-y", "--download-only", "install"];
        args.extend(packages);
        retried(|| self.run("apt-get", &args).map(drop)).context("the packages cannot be fetched")?;
        debs_in(&self.dir.join("cache/archives"))
    }

    /// Fetches just these packages, `name` or `name=version`; returns the files.
    ///
    /// # Errors
    /// When there is no such package, or it cannot be fetched.
    pub fn fetch(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let into = self.dir.join("debs");
        fs::create_dir_all(&into)?;
        let mut args = vec!["download"];
        args.extend(packages);
        retried(|| self.run_in(&into, "apt-get", &args).map(drop)).context("the packages cannot be fetched")?;
        debs_in(&into)
    }

    fn own_suite(&self) -> Result<String> {
        let release = own_release().context("this is not a Debian machine")?;
        Ok(self.archive.suite_of(&release))
    }

    fn run(&self, tool: &str, args: &[&str]) -> Result<String> {
        self.run_in(&self.dir, tool, args)
    }

    fn run_in(&self, folder: &Path, tool: &str, args: &[&str]) -> Result<String> {
        let output = Command::new(tool)
            .arg("-c")
            .arg(self.dir.join("apt.conf"))
            .args(["-q=2"])
            .args(args)
            .current_dir(folder)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {tool}"))?;
        if !output.status.success() {
            bail!("{tool}: {}", complaint(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Everything that would touch or read the machine's own state is turned to our folder or off.
    fn configuration(&self) -> String {
        let dir = self.dir.display();
        format!(
            r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
Dir::Etc::SourceList "{dir}/sources.list";
Dir::Etc::SourceParts "-";
Dir::Etc::Preferences "-";
Dir::Etc::PreferencesParts "-";
Dir::State "{dir}/state";
Dir::State::status "{dir}/state/status";
Dir::Cache "{dir}/cache";
Dir::Log "{dir}";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "";
"#
        )
    }
}

/// Unpacks a package into a folder, without what only people read.
///
/// # Errors
/// When the file is not a package, or the folder cannot be written.
pub fn unpack(deb: &Path, into: &Path) -> Result<()> {
    const LEFT_OUT: [&str; 9] = [
        "./dev",
        "./usr/share/doc",
        "./usr/share/info",
        "./usr/share/lintian",
        "./usr/share/locale",
        "./usr/share/man",
        "./usr/share/perl*",
        "./usr/lib/*/gconv",
        "./usr/lib/python3*",
    ];
    fs::create_dir_all(into)?;
    let mut opened = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn()?;
    let archive = opened.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = Command::new("tar")
        .args(["--extract", "--no-same-owner", "--directory"])
        .arg(into)
        .args(LEFT_OUT.map(|path| format!("--exclude={path}")))
        .stdin(archive)
        .output()?;
    let opened = opened.wait()?;
    ensure!(
        opened.success() && unpacked.status.success(),
        "cannot unpack {}: {}",
        deb.display(),
        complaint(&String::from_utf8_lossy(&unpacked.stderr))
    );
    Ok(())
}

/// The address of the archive that this machine's apt reads its own release from.
fn mirror(archive: Archive) -> Result<String> {
    if let Ok(mirror) = std::env::var("VOXTRA_DEBIAN_MIRROR")
        && archive == Archive::Main
    {
        ensure!(!mirror.contains(char::is_whitespace) && !mirror.is_empty(), "VOXTRA_DEBIAN_MIRROR is not an address");
        return Ok(mirror);
    }
    let release = own_release().context("this is not a Debian machine; VOXTRA_DEBIAN_MIRROR can name a mirror")?;
    let wanted = archive.suite_of(&release);
    let output = Command::new("apt-get")
        .args(["indextargets", "--no-release-info", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"])
        .stdin(Stdio::null())
        .output()
        .context("cannot start apt-get")?;
    let targets = String::from_utf8_lossy(&output.stdout);
    let found = targets.lines().filter_map(|line| line.split_once(' ')).find(|(suite, _)| *suite == wanted);
    let (_, address) = found.with_context(|| {
        format!("apt's sources name no archive for {wanted}; VOXTRA_DEBIAN_MIRROR can name a mirror")
    })?;
    Ok(address.trim().to_owned())
}

/// The code name of this machine's Debian.
fn own_release() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(|v| v.trim_matches('"').to_owned())
    };
    if value("ID")? == "debian" { value("VERSION_CODENAME") } else { None }
}

fn debs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut debs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            debs.push(path);
        }
    }
    debs.sort();
    ensure!(!debs.is_empty(), "apt has fetched nothing");
    Ok(debs)
}

fn retried<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut made = 1;
    loop {
        match attempt() {
            Err(e) if made < ATTEMPTS => eprintln!("{e:#}; trying again"),
            outcome => return outcome,
        }
        made += 1;
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
}

/// The line of a program's error output that says most: apt puts its errors behind `E:`.
fn complaint(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    lines().find(|l| l.starts_with("E:")).or_else(|| lines().next_back()).unwrap_or("no reason given").to_owned()
}
